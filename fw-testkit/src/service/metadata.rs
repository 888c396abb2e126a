//! The instance metadata service as far as the lab asks it: version 2, so every read needs a session token
//! (EC2 user guide, "Use the Instance Metadata Service to access instance metadata").

use std::io;

use tokio::io::BufReader;
use tokio::net::TcpStream;

use super::http::{read_request, respond};

const TOKEN: &str = "bGFiLXNlc3Npb24tdG9rZW4";

/// What the service knows.
const ENTRIES: [(&str, &str); 3] = [
    ("/latest/meta-data/instance-id", "i-0f1e2d3c4b5a69788"),
    ("/latest/meta-data/placement/region", "eu-central-1"),
    ("/latest/meta-data/autoscaling/target-lifecycle-state", "InService"),
];

pub(super) async fn converse(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read_request(&mut stream).await?;
    let entry = ENTRIES.iter().find(|(path, _)| *path == request.path).map(|(_, value)| *value);
    let authorized = request.header("X-aws-ec2-metadata-token") == Some(TOKEN);
    match (request.method.as_str(), entry) {
        ("PUT", None) if request.path == "/latest/api/token" => respond(&mut stream, "200 OK", TOKEN).await,
        ("GET", Some(_)) if !authorized => respond(&mut stream, "401 Unauthorized", "").await,
        ("GET", Some(value)) => respond(&mut stream, "200 OK", value).await,
        _ => respond(&mut stream, "404 Not Found", "").await,
    }
}
