//! Many clients in one thread: non-blocking sockets, each tended when it's due. What a client does
//! is its own business (see `attacks/`); a crowd opens its connections, and opens them again when
//! they're lost.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::field::Field;

/// When a client that could do nothing is looked at again.
const RETRY: Duration = Duration::from_millis(10);
/// The longest sleep, so that a crowd hears when the attack is over.
const NAP: Duration = Duration::from_millis(10);
/// Source addresses of a crowd that comes from everywhere: 127.0.0.2 and the next seven.
const ADDRESSES: usize = 8;

/// One client's conduct.
pub trait Client {
    /// Does what can be done now, without waiting. `WouldBlock` is no failure; any other error means
    /// that the connection is lost.
    fn act(&mut self, stream: &mut TcpStream) -> io::Result<Next>;
}

/// What a client wants next.
pub enum Next {
    /// The client is called again after this time.
    After(Duration),
    /// To hang up.
    Leave,
    /// To hang up with a reset.
    Reset,
}

/// How a crowd comes.
pub struct Crowd {
    /// How many are there at once.
    pub size: usize,
    /// New connections a second at the beginning.
    pub pace: usize,
    /// How long after losing its connection, or hanging up, a client comes again.
    pub comeback: Duration,
    /// From several addresses, instead of the one that the normal client has too: behind an
    /// ingress, all clients have the same.
    pub from_everywhere: bool,
    /// The receive buffer of a client that won't read, in bytes.
    pub receive_buffer: Option<usize>,
}

impl Default for Crowd {
    fn default() -> Crowd {
        Crowd {
            size: 1,
            pace: 5_000,
            comeback: Duration::from_secs(1),
            from_everywhere: false,
            receive_buffer: None,
        }
    }
}

/// One client of the crowd.
#[derive(Default)]
struct Seat {
    taken: Option<(TcpStream, Box<dyn Client>)>,
    was_taken: bool,
}

impl Crowd {
    /// Lets the crowd in until the attack is over. `recruit` makes the clients, by number.
    pub fn attack(&self, field: &Field, recruit: impl Fn(usize) -> Box<dyn Client>) {
        let size = field.affordable(self.size);
        let mut seats: Vec<Seat> = (0..size).map(|_| Seat::default()).collect();
        let start = Instant::now();
        let begins =
            |number: usize| start + Duration::from_secs_f64(number as f64 / self.pace as f64);
        let mut due: BinaryHeap<_> = (0..size)
            .map(|number| Reverse((begins(number), number)))
            .collect();
        while let (false, Some(Reverse((at, number)))) = (field.is_over(), due.pop()) {
            let now = Instant::now();
            if at > now {
                due.push(Reverse((at, number)));
                std::thread::sleep((at - now).min(NAP));
                continue;
            }
            let next = self.tend(field, &mut seats[number], number, &recruit);
            due.push(Reverse((now + next, number)));
        }
        let taken = seats.iter().filter(|seat| seat.taken.is_some()).count();
        field.closed(taken);
    }

    /// Looks after one client; when to look again.
    fn tend(
        &self,
        field: &Field,
        seat: &mut Seat,
        number: usize,
        recruit: impl Fn(usize) -> Box<dyn Client>,
    ) -> Duration {
        let Some((stream, client)) = &mut seat.taken else {
            return match self.connect(field.address, number) {
                Ok(stream) => {
                    field.opened(!std::mem::replace(&mut seat.was_taken, true));
                    seat.taken = Some((stream, recruit(number)));
                    Duration::ZERO
                }
                Err(error) => {
                    field.falls_short(format!("a client has no socket: {error}"));
                    self.comeback
                }
            };
        };
        match client.act(stream) {
            Ok(Next::After(pause)) => return pause,
            Err(error) if is_patience(&error) => return RETRY,
            Ok(Next::Reset) => {
                let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            }
            Ok(Next::Leave) | Err(_) => {}
        }
        seat.taken = None;
        field.closed(1);
        self.comeback
    }

    /// A socket on its way to being connected.
    fn connect(&self, to: SocketAddr, number: usize) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if let Some(size) = self.receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        if self.from_everywhere {
            let last = 2 + (number % ADDRESSES) as u8;
            socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
        }
        match socket.connect(&to.into()) {
            Err(error) if !is_under_way(&error) => Err(error),
            _ => Ok(socket.into()),
        }
    }
}

fn is_patience(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected | ErrorKind::Interrupted
    )
}

/// A refused connection is one as well: the client finds out as soon as it does something.
fn is_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS) || error.kind() == ErrorKind::ConnectionRefused
}
