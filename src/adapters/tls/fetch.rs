//! One CRL over plain HTTP/1.1 (RFC 5280 §4.2.1.13, RFC 9110): bounded in size and time, at most a few redirects, none of them to another scheme.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_LENGTH, HOST, LOCATION};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::crl::{HttpAddress, LARGEST};

const TIME: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);
const REDIRECTS: usize = 3;

/// The body of a 200. `Err`: what went wrong, in the operator's terms.
pub async fn get(address: &HttpAddress) -> Result<Bytes, String> {
    timeout(TIME, followed(address)).await.unwrap_or_else(|_| Err(format!("it did not come within {} s", TIME.as_secs())))
}

async fn followed(address: &HttpAddress) -> Result<Bytes, String> {
    let mut address = address.clone();
    for _ in 0..=REDIRECTS {
        match once(&address).await? {
            Answer::Body(body) => return Ok(body),
            Answer::Elsewhere(location) => address = elsewhere(&address, &location)?,
        }
    }
    Err(format!("it was redirected more than {REDIRECTS} times"))
}

enum Answer {
    Body(Bytes),
    Elsewhere(String),
}

async fn once(address: &HttpAddress) -> Result<Answer, String> {
    let stream = connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("HTTP failed ({error})"))?;
    let request = Request::get(&*address.path).header(HOST, address.authority()).header(ACCEPT, "application/pkix-crl, application/x-pem-file, */*");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| format!("its address makes no request ({error})"))?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(|error| format!("no answer came ({error})"))?;
        answer(response).await
    };
    tokio::pin!(exchange);
    // The connection is driven beside the exchange, and goes with it.
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}

async fn connect(address: &HttpAddress) -> Result<TcpStream, String> {
    let mut failure = format!("{} has no address", address.host);
    let found = lookup_host((&*address.host, address.port)).await.map_err(|error| format!("{} could not be resolved ({error})", address.host))?;
    for to in found.take(8) {
        match timeout(CONNECT, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = format!("{to} could not be reached ({error})"),
            Err(_) => failure = format!("{to} did not answer within {} s", CONNECT.as_secs()),
        }
    }
    Err(failure)
}

async fn answer(response: Response<hyper::body::Incoming>) -> Result<Answer, String> {
    let status = response.status();
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        return location.map(|location| Answer::Elsewhere(location.to_owned())).ok_or_else(|| format!("the server answered {status} without saying where"));
    }
    if status != StatusCode::OK {
        return Err(format!("the server answered {status}: see that the address is right"));
    }
    let announced = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()).and_then(|length| length.parse::<u64>().ok());
    let too_large = || format!("it is larger than the {LARGEST} bytes that are read");
    if announced.is_some_and(|length| length > LARGEST as u64) {
        return Err(too_large());
    }
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| if error.is::<http_body_util::LengthLimitError>() { too_large() } else { format!("it did not come whole ({error})") })?;
    Ok(Answer::Body(body.to_bytes()))
}

fn elsewhere(from: &HttpAddress, location: &str) -> Result<HttpAddress, String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Ok(HttpAddress { path: location.into(), ..from.clone() });
    }
    HttpAddress::parse(location).map_err(|remedy| format!("it was redirected to something else than plain HTTP; {remedy}"))
}
