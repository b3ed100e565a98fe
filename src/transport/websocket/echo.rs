//! A WebSocket that sends back what it receives, so that conformance suites can test the server's
//! implementation of the protocol. Served only with `--echo`.

use std::convert::Infallible;
use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, StatusCode};
use warp::reply::Response;

use super::handshake;
use super::socket::Socket;
use crate::app::response::to_response;
use crate::app::{ApiError, App, Client, End};
use crate::variant::Transport;

/// `GET /echo`, upgrade.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    warp::path!("echo")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Client>())
        .and(warp::ext::optional())
        .map(move |headers: HeaderMap, client, upgrade| {
            if !app.config.echo {
                return ApiError::new(StatusCode::NOT_FOUND, "start the server with --echo").into();
            }
            let (response, upgrade) = match handshake::respond(&headers, upgrade) {
                Ok(accepted) => accepted,
                Err(refusal) => return *refusal,
            };
            to_response(app.admit_subscriber(Transport::WebSocket, &client).map(|guard| {
                let socket = Socket::accept(app.clone(), client, upgrade, None);
                let host = app.clone();
                app.spawn(async move {
                    let _guard = guard;
                    let Some(mut socket) = socket.await else { return };
                    let echoing = host.drain.run_until_cancelled(echo(&mut socket)).await;
                    let end = echoing.map_or_else(|| host.drain_end(), |Err(end)| end);
                    socket.close(end).await;
                });
                response
            }))
        })
        .boxed()
}

async fn echo(socket: &mut Socket) -> Result<Infallible, End> {
    loop {
        let frame = socket.receive_frame().await?;
        socket.write(Some(frame)).await?;
    }
}
