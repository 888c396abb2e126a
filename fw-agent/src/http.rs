//! The HTTP server for metrics and health checks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;

use crate::facts::{Check, Shared};
use crate::metrics;

/// How often an address that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What `/readyz` answers.
#[derive(Clone, Debug, Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<Check>,
}

/// Serves for ever. That the address cannot be had is no reason to stop a firewall: it is tried again.
pub async fn serve(listen: SocketAddr, shared: Arc<Shared>) {
    let router = router(shared);
    let mut reported = false;
    loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => {
                tracing::info!(%listen, "serving metrics and health");
                reported = false;
                if let Err(error) = axum::serve(listener, router.clone()).await {
                    tracing::warn!(%listen, %error, "the server for metrics and health ended");
                }
            }
            Err(error) if !reported => {
                tracing::error!(%listen, %error, "cannot serve metrics and health; trying again");
                reported = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(shared)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match tokio::task::spawn_blocking(move || metrics::render(&shared)).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let checks = shared.facts.load().checks();
    let readiness = Readiness { ready: checks.iter().all(|check| check.ok), checks };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::to_string(&readiness).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}
