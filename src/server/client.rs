//! The client at the other end of a connection, as far as it can be looked at without waiting and
//! without taking anything from it.

use socket2::SockRef;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, TcpStream};

/// Who asks.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    pub(super) address: IpAddr,
    stream: &'a TcpStream,
}

impl<'a> Client<'a> {
    pub(super) fn new(address: IpAddr, stream: &'a TcpStream) -> Client<'a> {
        Client { address, stream }
    }

    /// Whether something of it is still unread, which would turn our hanging up into a reset.
    pub(super) fn has_said_more(&self) -> bool {
        self.unread().is_ok_and(|count| count > 0)
    }

    /// Whether it waits for nothing any more. One that has only ended its own half can't be told from
    /// one that is gone; nginx and Go's server don't try either.
    pub(super) fn has_hung_up(&self) -> bool {
        match self.unread() {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// How much is unread, if it's more than nothing; at the end of its half, none.
    fn unread(&self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        SockRef::from(self.stream).recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Shutdown, TcpListener};

    #[test]
    fn a_client_is_silent_or_has_said_more_or_has_hung_up() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, address) = listener.accept().unwrap();
        let seen = |stream| {
            let client = Client::new(address.ip(), stream);
            (client.has_said_more(), client.has_hung_up())
        };
        assert_eq!(seen(&stream), (false, false));
        other.write_all(b"GET").unwrap();
        // Waits until it has arrived, and leaves it there.
        stream.peek(&mut [0]).unwrap();
        assert_eq!(seen(&stream), (true, false));
        (&stream).read_exact(&mut [0; 3]).unwrap();
        assert_eq!(seen(&stream), (false, false));
        other.shutdown(Shutdown::Both).unwrap();
        assert_eq!(stream.peek(&mut [0]).unwrap(), 0);
        assert_eq!(seen(&stream), (false, true));
    }
}
