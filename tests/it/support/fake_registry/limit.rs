//! A limit of the rate of requests, as nginx and others put it in front of a registry: a bucket of tokens
//! that fills at the rate allowed. What finds it empty is refused, and costs nothing.

use std::time::Instant;

use super::reply::Reply;

pub(super) struct Limit {
    /// Tokens a second, and the most of them.
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
    refusal: Reply,
}

impl Limit {
    pub fn new(rate: f64, burst: f64, refusal: Reply) -> Limit {
        Limit {
            rate,
            burst,
            tokens: burst,
            filled: Instant::now(),
            refusal,
        }
    }

    /// The refusal of a request that comes now, unless it may pass.
    pub fn refuse(&mut self) -> Option<Reply> {
        let now = Instant::now();
        let new = (now - self.filled).as_secs_f64() * self.rate;
        (self.tokens, self.filled) = (self.burst.min(self.tokens + new), now);
        if self.tokens < 1.0 {
            return Some(self.refusal.clone());
        }
        self.tokens -= 1.0;
        None
    }
}
