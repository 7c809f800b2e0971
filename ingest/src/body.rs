//! Reading a body within its bounds of size, time and memory, and unpacking it.

use std::borrow::Cow;
use std::io::Read as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Body;

use crate::Options;
use crate::budget::Share;
use crate::head::Packing;
use crate::refusal::Refusal;

/// So much is unpacked before it is looked whether there is room for it.
const PIECE: u64 = 32 << 10;

/// The whole body as sent. `share` grows with what has arrived, so that a slow sender holds only what it sent.
pub(crate) async fn read<B: Body<Data = Bytes>>(
    body: B,
    options: &Options,
    share: &mut Share,
) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > options.max_body_bytes as u64 {
        return Err(Refusal::BodyTooLarge { limit: options.max_body_bytes });
    }
    let mut reading = std::pin::pin!(collect(body, options.max_body_bytes, share));
    // Most bodies have come with their heads: these need no timer.
    if let Some(read) = reading.as_mut().now_or_never() {
        return read;
    }
    match tokio::time::timeout(Duration::from_millis(options.body_timeout_ms), reading).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::BodyTooSlow { limit_ms: options.body_timeout_ms }),
    }
}

async fn collect<B: Body<Data = Bytes>>(body: B, limit: usize, share: &mut Share) -> Result<Bytes, Refusal> {
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BodyCutShort)?.into_data() else { continue };
        length += data.len();
        if length > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
        share.grow(data.len()).map_err(|_| Refusal::Busy)?;
        // Most bodies come in one piece, which is then not copied.
        if first.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// The body unpacked, within `limit`. `share` grows with it.
pub(crate) fn unpack<'b>(
    body: &'b [u8],
    packing: Packing,
    limit: usize,
    share: &mut Share,
) -> Result<Cow<'b, [u8]>, Refusal> {
    if packing == Packing::Plain {
        return Ok(Cow::Borrowed(body));
    }
    let mut decoder = flate2::read::MultiGzDecoder::new(body);
    let mut unpacked = Vec::new();
    loop {
        let before = unpacked.len();
        let piece = decoder.by_ref().take(PIECE).read_to_end(&mut unpacked).map_err(|_| Refusal::GzipBroken)?;
        if piece == 0 {
            return Ok(Cow::Owned(unpacked));
        }
        if unpacked.len() > limit {
            return Err(Refusal::UnpackedTooLarge { limit });
        }
        share.grow(unpacked.len() - before).map_err(|_| Refusal::Busy)?;
    }
}
