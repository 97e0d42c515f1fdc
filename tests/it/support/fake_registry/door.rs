//! A listening port of the fake: accepts, gives every connection a thread of its own, and can be
//! closed and opened again on the same port.

use socket2::{Domain, SockRef, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::Shared;
use super::connection;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    Registry,
    /// Answers for tokens alone.
    TokenServer,
}

pub(super) struct Door {
    address: SocketAddr,
    /// Bound to the port and never listening, so that no other test gets the port while the door is
    /// closed.
    _reserved: Socket,
    role: Role,
    watch: Arc<Watch>,
    accepting: Option<JoinHandle<()>>,
}

/// What the accepting thread and the door's owner share.
#[derive(Default)]
pub(super) struct Watch {
    closed: AtomicBool,
    accepted: AtomicUsize,
    pub(super) tls_hellos: AtomicUsize,
    /// A twin of each open stream, by its number, so that closing the door ends them.
    streams: Mutex<HashMap<usize, TcpStream>>,
}

impl Door {
    pub fn open(shared: &Arc<Shared>, address: &str, role: Role) -> Door {
        let any_port = SocketAddr::new(address.parse().expect("an address"), 0);
        let (reserved, address) = reserve(any_port).expect("a loopback port is free");
        let listener = TcpListener::bind(address).expect("the port is ours");
        let mut door = Door {
            address,
            _reserved: reserved,
            role,
            watch: Arc::default(),
            accepting: None,
        };
        door.accept(shared, listener);
        door
    }

    pub fn reopen(&mut self, shared: &Arc<Shared>) {
        assert!(self.accepting.is_none(), "the door is open");
        let listener = TcpListener::bind(self.address).expect("the port is still ours");
        self.accept(shared, listener);
    }

    pub fn close(&mut self) {
        let Some(accepting) = self.accepting.take() else {
            return;
        };
        self.watch.closed.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then looks whether it should go.
        let _ = TcpStream::connect(self.address);
        accepting.join().expect("the accepting thread is sound");
        for stream in self.watch.streams.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn tls_hellos(&self) -> usize {
        self.watch.tls_hellos.load(Ordering::SeqCst)
    }

    fn accept(&mut self, shared: &Arc<Shared>, listener: TcpListener) {
        self.watch.closed.store(false, Ordering::SeqCst);
        let (shared, watch, role) = (Arc::clone(shared), Arc::clone(&self.watch), self.role);
        self.accepting = Some(thread::spawn(move || {
            for stream in listener.incoming() {
                if watch.closed.load(Ordering::SeqCst) {
                    // A process that another test is just starting holds a copy of the listener until it
                    // executes its program, and would keep the port open.
                    let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
                    return;
                }
                let stream = stream.expect("the test may open more files");
                watch.serve(&shared, role, stream);
            }
        }));
    }
}

/// A port of its own. With SO_REUSEADDR, which `TcpListener` sets too, another socket may listen there.
fn reserve(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    let bound = socket.local_addr()?.as_socket();
    Ok((socket, bound.expect("an internet address")))
}

impl Watch {
    fn serve(self: &Arc<Self>, shared: &Arc<Shared>, role: Role, stream: TcpStream) {
        let number = self.accepted.fetch_add(1, Ordering::SeqCst);
        let twin = stream.try_clone().expect("the test may open more files");
        self.streams.lock().unwrap().insert(number, twin);
        let (shared, watch) = (Arc::clone(shared), Arc::clone(self));
        thread::spawn(move || {
            let end = connection::serve(&shared, &watch, &stream, role, number);
            if end == connection::End::Orderly {
                let _ = stream.shutdown(Shutdown::Both);
            }
            watch.streams.lock().unwrap().remove(&number);
        });
    }
}
