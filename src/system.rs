//! What no crate of ours asks the system for, so that it takes unsafe code: the only one.

use std::{io, mem};

/// Lets a thread that wakes wait for a free processor, or for the end of the running thread's slice, some
/// milliseconds (sched(7), SCHED_BATCH). Threads that the calling one starts inherit that, and no
/// privilege is needed; where a sandbox forbids it, all stays as it was.
///
/// Each connection has a thread. By the kernel's default, a thread that gets a request interrupts
/// another in the middle of its response, or a client on the same host in the middle of reading one:
/// once for each request and each part of a file. `make bench ROWS=mirror` measured a tenth fewer small
/// charts and a third fewer large ones a second.
pub fn wake_without_interrupting() {
    // SAFETY: a `sched_param` is made of integers, so zeros are one, with the priority 0 that this policy
    // demands; the kernel reads it during the call only; and the process 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &mem::zeroed()) };
    if result != 0 {
        log::debug!("SCHED_BATCH: {}", io::Error::last_os_error());
    }
}

/// How many bytes may be free at the end of a heap: glibc's own figure, which it would raise to twice the
/// largest piece that was ever freed, such as an index.
const MOST_FREE: i32 = 128 * 1024;
/// Up to which size freed pieces are kept apart, in bytes: none, for a small piece at the end of a heap would
/// keep all that is free before it.
const MOST_APART: i32 = 0;

/// Has glibc give free memory back to the system, which it else may keep until the next scan, hours later. To
/// be called before there are threads.
pub fn keep_little_free_memory() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_TRIM_THRESHOLD, MOST_FREE),
        (libc::M_MXFAST, MOST_APART),
    ] {
        // SAFETY: it takes two numbers and no pointer, and no other thread allocates yet (mallopt(3),
        // MT-Unsafe init).
        unsafe { libc::mallopt(parameter, value) };
    }
}
