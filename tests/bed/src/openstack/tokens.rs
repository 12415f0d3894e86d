//! Tokens that have expired before their time. Pure.
//!
//! A service is shown another token in place of an expired one, so that it refuses it in its own words, whatever it keeps of good ones.

use std::collections::BTreeSet;

/// Name of the fault that lets the token of a call expire: that call and all later ones with it are refused.
pub const EXPIRED_TOKEN: &str = "expired-token";

/// What services are shown instead.
const USELESS: &str = "expired";

/// Tokens given out, and which of them are good no more.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    issued: BTreeSet<String>,
    expired: BTreeSet<String>,
}

impl Tokens {
    /// Keystone has given out a token.
    pub fn issue(&mut self, token: &str) {
        self.issued.insert(token.to_owned());
    }

    /// A token has expired.
    pub fn expire(&mut self, token: &str) {
        self.issued.remove(token);
        self.expired.insert(token.to_owned());
    }

    /// All that were given out so far have expired; says how many.
    pub fn expire_all(&mut self) -> usize {
        let all = std::mem::take(&mut self.issued);
        let number = all.len();
        self.expired.extend(all);
        number
    }

    /// What a service is shown for a token.
    pub fn shown<'a>(&self, token: &'a str) -> &'a str {
        if self.expired.contains(token) { USELESS } else { token }
    }

    /// A body in which a client asks for a new token by an old one, as Keystone is shown it.
    pub fn shown_in(&self, body: &str) -> Option<String> {
        let found = self.expired.iter().find(|token| body.contains(token.as_str()))?;
        Some(body.replace(found.as_str(), USELESS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_token_stays_expired_and_others_are_good() {
        let mut tokens = Tokens::default();
        tokens.issue("a");
        tokens.issue("b");
        tokens.expire("a");
        assert_eq!((tokens.shown("a"), tokens.shown("b")), ("expired", "b"));
        assert_eq!(tokens.expire_all(), 1);
        assert_eq!(tokens.shown("b"), "expired");
        assert_eq!(tokens.shown_in(r#"{"id": "b"}"#).as_deref(), Some(r#"{"id": "expired"}"#));
        assert_eq!(tokens.shown_in("{}"), None);
    }
}
