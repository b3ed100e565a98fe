//! The most memory that clients can make the server allocate, computed from its limits.
//! docs/operations.md states the figures for the default limits.

use super::ServerConfig;

/// Memory of one connection that is not counted while it is used, beside its headers: the window
/// of an HTTP/2 connection (64 KiB) or the write buffer of a WebSocket (32 KiB), and the tasks.
const CONNECTION_BYTES: usize = 80 << 10;
/// Memory of one connection for TLS: a record in each direction, and what waits to be encrypted.
const TLS_BYTES: usize = 96 << 10;
/// Memory of a Socket.IO session that is not counted: its state, and packets of up to 4 KiB.
const SESSION_BYTES: usize = 8 << 10;

/// Upper bounds, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// For one connection, with the sessions that its client opens through it.
    pub connection: usize,
    /// For all connections and sessions of one address.
    pub address: usize,
    /// For all clients.
    pub server: usize,
}

impl MemoryBudget {
    /// The budget under the limits of `config`.
    pub fn of(config: &ServerConfig) -> MemoryBudget {
        let tls = if config.tls_cert.is_some() { TLS_BYTES } else { 0 };
        let headers = config.max_header_bytes.saturating_mul(2);
        let connection = headers.saturating_add(CONNECTION_BYTES + tls);
        let bound = |held: usize, connections: usize, sessions: usize| {
            held.saturating_add(connections.saturating_mul(connection))
                .saturating_add(sessions.saturating_mul(SESSION_BYTES))
        };
        let sessions = config.max_sessions_per_address;
        MemoryBudget {
            connection: bound(config.max_held_bytes, 1, sessions),
            address: bound(
                config.max_held_bytes_per_address,
                config.max_connections_per_address,
                sessions,
            ),
            server: bound(config.max_held_bytes_total, config.max_connections, config.max_sessions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = (1 << 20) as f64;

    #[test]
    fn documentation_states_the_budget_of_the_default_limits() {
        let budget = MemoryBudget::of(&ServerConfig::default());
        assert!(budget.connection <= 64 << 20 && budget.address <= 256 << 20, "{budget:?}");
        let tls_cert = Some("chain.pem".into());
        let with_tls = MemoryBudget::of(&ServerConfig { tls_cert, ..ServerConfig::default() });
        let documentation = include_str!("../../docs/operations.md");
        for (who, plain, tls) in [
            ("one connection", budget.connection, with_tls.connection),
            ("one address", budget.address, with_tls.address),
            ("the whole server", budget.server, with_tls.server),
        ] {
            let [plain, tls] = [plain, tls].map(|bytes| (bytes as f64 / MIB).ceil());
            let row = format!("| {who} | {plain} MiB | {tls} MiB |");
            assert!(documentation.contains(&row), "not in docs/operations.md: {row}");
        }
    }
}
