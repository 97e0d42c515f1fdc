//! How the kernel schedules this program's threads: the only unsafe code, one call that no crate of ours
//! makes.
//!
//! Each connection has a thread. By the kernel's default, a thread that gets a request interrupts
//! another in the middle of its response, or a client on the same host in the middle of reading one.
//! Under load that is once for each request and each part of a file: `make bench ROWS=mirror` measured
//! a tenth fewer small charts and a third fewer large ones a second.

use std::mem;

/// Lets a thread that wakes wait for a free processor, or for the end of the running thread's slice, some
/// milliseconds (sched(7), SCHED_BATCH). Threads that the calling one starts inherit that, and no
/// privilege is needed; where a sandbox forbids it, all stays as it was.
pub fn wake_without_interrupting() {
    // SAFETY: a `sched_param` is made of integers, so zeros are one, with the priority 0 that this policy
    // demands; the kernel reads it during the call only; and the process 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &mem::zeroed()) };
    if result != 0 {
        log::debug!("SCHED_BATCH: {}", std::io::Error::last_os_error());
    }
}
