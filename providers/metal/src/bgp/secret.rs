//! Passwords of BGP sessions, and what is known of the Secrets that hold them. Pure. Nothing here shows a password.

use std::fmt;
use std::sync::Arc;

/// Type that a Secret with the password of a peer must have.
pub const SECRET_TYPE: &str = "kubernetes.io/basic-auth";
/// Key under which it holds the password.
pub const SECRET_KEY: &str = "password";
/// Longest password, octets: what the kernel takes for TCP MD5 signatures (`TCP_MD5SIG_MAXKEYLEN`).
pub const LONGEST: usize = 80;

/// A password for TCP MD5 signatures (RFC 2385). `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Arc<[u8]>);

impl Password {
    /// A password. Line ends at its end are left out: they come from the tool that wrote the Secret, no router could be given them, and MetalLB's routing daemon
    /// does not see them either.
    #[must_use]
    pub fn new(octets: &[u8]) -> Self {
        let end = octets.iter().rposition(|octet| !b"\r\n".contains(octet)).map_or(0, |last| last + 1);
        Self(octets[..end].into())
    }

    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is known of a Secret in the namespace of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerSecret {
    /// It holds this password.
    Password(Password),
    /// It is of this type, which is not [`SECRET_TYPE`].
    WrongType(String),
    /// It holds no password, or an empty one.
    NoPassword,
}

impl PeerSecret {
    /// By the type of the Secret and its entry [`SECRET_KEY`].
    #[must_use]
    pub fn new(kind: &str, password: Option<&[u8]>) -> Self {
        if kind != SECRET_TYPE {
            return Self::WrongType(kind.to_owned());
        }
        match password.map(Password::new) {
            Some(password) if !password.as_bytes().is_empty() => Self::Password(password),
            _ => Self::NoPassword,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"secret", b"secret")]
    #[case(b"secret\n", b"secret")]
    #[case(b"secret\r\n", b"secret")]
    #[case(b" se\ncret ", b" se\ncret ")]
    #[case(b"\n", b"")]
    #[case(b"\xff\x00", b"\xff\x00")]
    fn line_ends_are_no_part_of_it(#[case] written: &[u8], #[case] meant: &[u8]) {
        assert_eq!(Password::new(written).as_bytes(), meant);
    }

    #[test]
    fn it_is_not_shown() {
        let secret = PeerSecret::new(SECRET_TYPE, Some(b"open sesame"));
        assert_eq!(format!("{secret:?}"), "Password(***)");
    }

    #[rstest]
    #[case(SECRET_TYPE, Some("x"), PeerSecret::Password(Password::new(b"x")))]
    #[case(SECRET_TYPE, None, PeerSecret::NoPassword)]
    #[case(SECRET_TYPE, Some("\n"), PeerSecret::NoPassword)]
    #[case("Opaque", Some("x"), PeerSecret::WrongType("Opaque".into()))]
    fn secrets(#[case] kind: &str, #[case] password: Option<&str>, #[case] expected: PeerSecret) {
        assert_eq!(PeerSecret::new(kind, password.map(str::as_bytes)), expected);
    }
}
