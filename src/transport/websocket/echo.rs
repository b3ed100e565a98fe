//! A WebSocket that says back what it hears, so that suites of test cases can try how the protocol
//! is spoken here. Served only with `--echo`.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::protocol::Role;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::HeaderMap;
use warp::reply::Response;

use super::{End, Socket, config, handshake, leave};
use crate::app::respond::answer;
use crate::app::{ApiError, App};
use crate::variant::Transport;

/// `GET /echo`, upgrade.
pub fn route(app: &Arc<App>) -> BoxedFilter<(Response,)> {
    let app = app.clone();
    warp::path!("echo")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional())
        .map(move |headers: HeaderMap, upgrade| answer(accept(&app, &headers, upgrade)))
        .boxed()
}

fn accept(
    app: &Arc<App>,
    headers: &HeaderMap,
    upgrade: Option<OnUpgrade>,
) -> Result<Response, ApiError> {
    if !app.config.echo {
        return Err(ApiError::new(
            warp::http::StatusCode::NOT_FOUND,
            "start the server with --echo",
        ));
    }
    let (response, upgrade) = match handshake::respond(headers, upgrade) {
        Ok(accepted) => accepted,
        Err(refusal) => return Ok(*refusal),
    };
    let held = app.hold(Transport::WebSocket)?;
    let config = config(app.config.max_message_bytes_encoded());
    let drain = app.drain.clone();
    app.spawn(async move {
        let _held = held;
        let Ok(upgraded) = upgrade.await else { return };
        let io = TokioIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let end = drain.run_until_cancelled(echo(&mut socket)).await;
        leave(socket, end.unwrap_or(End::Gone)).await;
    });
    Ok(response)
}

async fn echo(socket: &mut Socket) -> End {
    while let Some(heard) = socket.next().await {
        let said = match heard {
            Ok(frame @ (WsMessage::Text(_) | WsMessage::Binary(_))) => socket.send(frame).await,
            Ok(WsMessage::Close(_)) => return End::Gone,
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = said {
            return End::from(error);
        }
    }
    End::Gone
}
