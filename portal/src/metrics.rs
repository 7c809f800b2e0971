use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use leadway_domain::telemetry::{HTTP_REQUESTS, HTTP_SECONDS};

/// Counts and times every request.
pub(crate) async fn measure(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!(HTTP_REQUESTS, "service" => "api", "status" => status).increment(1);
    metrics::histogram!(HTTP_SECONDS, "service" => "api").record(start.elapsed().as_secs_f64());
    response
}
