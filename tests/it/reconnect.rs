//! Reconnecting subscribers: a restart of the server delays messages but loses none.

use std::net::SocketAddr;
use std::time::Duration;

use poll_vs_push::client::{ClientError, Dialer, HttpConnection};
use poll_vs_push::transport::{Backoff, Reconnecting};
use poll_vs_push::variant::Transport;

use crate::child::ChildServer;
use crate::support::{TestServer, options, publish, soon};

const BACKOFF: Backoff = Backoff {
    first_delay_max: Duration::from_millis(5),
    delay_max: Duration::from_millis(50),
    outage_max: Duration::from_secs(60),
};

#[tokio::test]
async fn every_transport_resumes_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().to_str().expect("UTF-8").to_owned();
    let start = move |listen: &str| {
        let drain = ["--drain-window", "50ms", "--restarting"];
        ChildServer::start_on(listen, &[&["--data", &data], &drain[..]].concat())
    };
    let mut server = start("127.0.0.1:0");
    let listen = server.address.to_string();
    let mut subscribers = Vec::new();
    for transport in Transport::ALL {
        let dialer = Dialer::new(server.address);
        let connecting = Reconnecting::connect(transport, dialer, options(None), BACKOFF);
        subscribers.push(soon(connecting).await.expect("the server is up"));
    }
    let listening = subscribers.into_iter().zip(Transport::ALL).map(|(mut subscriber, way)| {
        tokio::spawn(async move {
            let (mut texts, mut outage) = (Vec::new(), None);
            while texts.len() < 2 {
                let received = subscriber.next().await.expect("the outage passes");
                assert!(received.gap == 0 && !received.reset, "{way}: {received:?}");
                texts.extend(received.messages.into_iter().map(|message| message.text));
                outage = outage.or(subscriber.outage());
            }
            // A short-polling client may not notice the restart.
            if way != Transport::ShortPolling {
                let outage = outage.unwrap_or_else(|| panic!("{way} noticed nothing"));
                assert!(outage.back_at > outage.lost_at);
            }
            texts
        })
    });
    let listening: Vec<_> = listening.collect();
    let address = server.address;
    publish(&mut HttpConnection::new(Dialer::new(address)), "before").await;
    // Blocks until the last client has disconnected, on the thread shared with the clients.
    let server = tokio::task::spawn_blocking(move || {
        server.stop();
        start(&listen)
    });
    let _server = server.await.expect("it stops and starts");
    publish(&mut HttpConnection::new(Dialer::new(address)), "after").await;
    for (subscriber, transport) in listening.into_iter().zip(Transport::ALL) {
        let texts = soon(subscriber).await.expect("it listens");
        assert_eq!(texts, ["before", "after"], "{transport}");
    }
}

#[tokio::test]
async fn reconnecting_gives_up_after_its_limit() {
    for transport in Transport::ALL {
        let server = TestServer::start().await;
        let backoff = Backoff { outage_max: Duration::ZERO, ..BACKOFF };
        let dialer = Dialer::new(server.address);
        let connecting = Reconnecting::connect(transport, dialer, options(None), backoff);
        let mut subscriber = soon(connecting).await.expect("the server is up");
        server.stop().await;
        let error = soon(async {
            loop {
                if let Err(error) = subscriber.next().await {
                    return error;
                }
            }
        });
        let error = error.await;
        let is_loss = matches!(
            error,
            ClientError::Connect(_) | ClientError::Broken(_) | ClientError::Closed(_)
        );
        assert!(is_loss, "{transport}: {error}");
    }
}

#[tokio::test]
async fn first_connection_is_not_retried() {
    // A bound port without a listener, so that no server of another test gets it.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let address = socket.local_addr().expect("one").as_socket().expect("of IPv4");
    let dialer = Dialer::new(address);
    let connecting = Reconnecting::connect(Transport::WebSocket, dialer, options(None), BACKOFF);
    assert!(matches!(soon(connecting).await, Err(ClientError::Connect(_))));
}
