//! A load's body: it waits for the word, and then goes out piece by piece, so that it can be seen whether the server takes
//! it. No piece is a copy.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

/// hyper asks for the next piece when the connection has room: small enough to show that it moves.
const PIECE: usize = 256 << 10;

/// How much of a body has gone out.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent(Arc<AtomicUsize>);

impl Sent {
    /// A byte may have arrived.
    pub(super) fn began(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    /// Ends when the server has taken nothing of a body of `length` bytes for `patience` (and at most twice that). Never,
    /// once all of it is out.
    pub(super) async fn stalls(&self, length: usize, patience: Duration) {
        loop {
            let before = self.0.load(Ordering::SeqCst);
            tokio::time::sleep(patience).await;
            let now = self.0.load(Ordering::SeqCst);
            if now == before && now < length {
                return;
            }
        }
    }
}

pub(super) struct HeldBody {
    word: Word,
    data: Bytes,
    sent: Sent,
}

enum Word {
    Awaited(oneshot::Receiver<()>),
    Given,
    /// The final answer came instead. The body stays where it is until the connection is closed: ending it
    /// with an error would end the connection before that answer is read.
    Never,
}

impl HeldBody {
    /// `word` lets it go.
    pub(super) fn new(word: oneshot::Receiver<()>, data: Bytes, sent: Sent) -> Self {
        HeldBody { word: Word::Awaited(word), data, sent }
    }
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Word::Awaited(word) = &mut self.word {
            self.word = match Pin::new(word).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => Word::Given,
                Poll::Ready(Err(_)) => Word::Never,
            };
        }
        if matches!(self.word, Word::Never) {
            return Poll::Pending;
        }
        if self.data.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.data.len().min(PIECE);
        self.sent.0.fetch_add(length, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(self.data.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_body_that_is_never_asked_for_stays_and_does_not_fail() {
        let (go, word) = oneshot::channel();
        let sent = Sent::default();
        let mut body = HeldBody::new(word, Bytes::from_static(b"rows"), sent.clone());
        drop(go);
        for _ in 0..2 {
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx).is_pending())).await;
            assert!(polled);
        }
        assert!(!sent.began());
    }

    #[tokio::test]
    async fn a_body_goes_out_in_pieces_and_a_stall_is_seen() {
        const PATIENCE: Duration = Duration::from_millis(20);
        let (go, word) = oneshot::channel();
        let (data, sent) = (Bytes::from(vec![7; PIECE + 1]), Sent::default());
        let mut body = HeldBody::new(word, data.clone(), sent.clone());
        go.send(()).unwrap();
        assert_eq!(body.size_hint().exact(), Some(data.len() as u64));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), PIECE);
        assert!(sent.began() && !body.is_end_stream());
        sent.stalls(data.len(), PATIENCE).await;
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 1);
        assert!(body.frame().await.is_none());
        // All is out: the rest is the server's time, which another limit holds.
        let stalled = tokio::time::timeout(PATIENCE * 10, sent.stalls(data.len(), PATIENCE)).await;
        assert!(stalled.is_err());
    }
}
