//! TLS on the connections of `ureq`, whose own takes no verifier and never reads its certificates again.
//! It begins no session with settings older than the files on disk. Connections that are kept alive were
//! verified by the settings of their time.

use super::tls_failure::TlsFailure;
use super::trust::{Given, Tls};
use super::url;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::{fmt, mem};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

/// Puts TLS on the connections to `https` URLs.
#[derive(Clone)]
pub(super) struct TlsConnector {
    tls: Arc<Tls>,
    /// The registry's own `host[:port]`, in lower case.
    own: String,
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        below: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        match below {
            Some(below) if details.needs_tls() => {
                let session = self.handshake(details, details.uri, Box::new(below))?;
                Ok(Some(Either::B(session)))
            }
            below => Ok(below.map(Either::A)),
        }
    }
}

impl TlsConnector {
    pub(super) fn new(tls: Arc<Tls>, own: String) -> TlsConnector {
        TlsConnector { tls, own }
    }

    /// Begins a session with the server that `peer` names, at the other end of `below`.
    pub(super) fn handshake(
        &self,
        details: &ConnectionDetails,
        peer: &ureq::http::Uri,
        below: Box<dyn Transport>,
    ) -> Result<TlsTransport, ureq::Error> {
        let host = peer.host().unwrap_or_default().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| ureq::Error::Tls("not a host name that can be certified"))?;
        let settings = self.tls.settings(url::is_at(peer, &self.own));
        let session = ClientConnection::new(settings.config, name).map_err(io::Error::other)?;
        let mut socket = TransportAdapter::new(below, details.current_time.clone());
        socket.set_timeout(details.timeout);
        let mut stream = StreamOwned::new(session, socket);
        let given = settings.given;
        while stream.conn.is_handshaking() {
            let progress = stream.conn.complete_io(&mut stream.sock);
            progress.map_err(|error| explained(error, &given))?;
        }
        let (input, output) = (
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(TlsTransport {
            buffers: LazyBuffers::new(input, output),
            stream,
            given,
        })
    }
}

/// The error with what the flags have to do with it, if it is one of TLS.
fn explained(mut error: io::Error, given: &Given) -> io::Error {
    let inner = error.get_mut().and_then(|inner| inner.downcast_mut());
    let Some(cause) = inner.map(|cause| mem::replace(cause, rustls::Error::HandshakeNotComplete))
    else {
        return error;
    };
    let given = given.clone();
    io::Error::new(error.kind(), TlsFailure { cause, given })
}

/// A connection with TLS.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    given: Given,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        let sent = self.stream.write_all(output);
        Ok(sent.map_err(|error| explained(error, &self.given))?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let read = self.stream.read(self.buffers.input_append_buf());
        // A refusal of our certificate may come only now (RFC 8446 §4.4.2).
        let amount = read.map_err(|error| explained(error, &self.given))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}
