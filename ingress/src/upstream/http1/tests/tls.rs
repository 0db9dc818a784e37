//! The same over TLS, whose ends are said.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::*;

async fn tls() -> (Connection, tokio_rustls::server::TlsStream<TcpStream>) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let cert = certified.cert.der().clone();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (here, there) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (here, there) = tokio::join!(
        TlsConnector::from(Arc::new(client)).connect("localhost".try_into().unwrap(), here.unwrap()),
        TlsAcceptor::from(Arc::new(server)).accept(there.unwrap().0),
    );
    (Connection::new(over_tls(here.unwrap())), there.unwrap())
}

#[tokio::test]
async fn over_tls_it_is_the_same() {
    let (mut connection, mut there) = tls().await;
    for size in [5, 4 << 20, 6] {
        let body = vec![b'x'; size];
        let request = request(RequestBody::whole(body.clone().into()));
        connection.send(&request);
        let serve = async {
            there.read_exact(&mut vec![0; length(&request)]).await.unwrap();
            there.write_all(format!("{OK}content-length: {size}\r\n\r\n").as_bytes()).await.unwrap();
            there.write_all(&body).await.unwrap();
            there.flush().await.unwrap();
        };
        let (got, ()) = tokio::join!(whole(&mut connection), serve);
        assert!(got.unwrap().body == body && connection.is_free() && connection.is_open());
    }
    there.shutdown().await.unwrap();
    soon(closed(&mut connection)).await;
}

#[tokio::test]
async fn over_tls_an_answer_ends_where_its_sender_says_so() {
    for is_said in [true, false] {
        let (mut connection, mut there) = tls().await;
        connection.send(&hello());
        let serve = async move {
            there.write_all(format!("{OK}\r\nabc").as_bytes()).await.unwrap();
            there.flush().await.unwrap();
            if is_said {
                there.shutdown().await.unwrap();
            }
            // Read first: to close with something unread is to break off.
            there.read_exact(&mut vec![0; length(&hello())]).await.unwrap();
        };
        let (got, ()) = tokio::join!(whole(&mut connection), serve);
        let got = got.unwrap();
        assert_eq!((got.body.as_slice(), got.broken.is_none()), (&b"abc"[..], is_said));
    }
}
