//! SCRAM-SHA-256, the server's side (RFC 5802, RFC 7677), from the password as the mock knows it.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};

use super::names::{base64, unbase64};

/// An exchange after the client's first message.
pub(super) struct Scram {
    /// Whose password it is.
    pub user: String,
    /// The mailbox to act as; empty for its own.
    pub act_as: String,
    header: String,
    bare: String,
    nonce: String,
}

impl Scram {
    /// Reads `n,a=…,n=user,r=nonce`.
    pub fn begin(first: &[u8]) -> Option<Scram> {
        let text = std::str::from_utf8(first).ok()?;
        let mut parts = text.splitn(3, ',');
        let (binding, act_as, bare) = (parts.next()?, parts.next()?, parts.next()?);
        let mut fields = bare.split(',');
        let user = name(fields.next()?.strip_prefix("n=")?)?;
        let nonce = fields.next()?.strip_prefix("r=").filter(|n| n.len() >= 8)?;
        let act_as_name = if act_as.is_empty() { String::new() } else { name(act_as.strip_prefix("a=")?)? };
        (["n", "y"].contains(&binding) && !user.is_empty()).then(|| Scram {
            user,
            act_as: act_as_name,
            header: format!("{binding},{act_as},"),
            bare: bare.to_owned(),
            nonce: format!("{nonce}mock"),
        })
    }

    /// Our first message.
    pub fn challenge(&self, rounds: u32) -> String {
        format!("r={},s={},i={rounds}", self.nonce, base64(&self.salt()))
    }

    fn salt(&self) -> Vec<u8> {
        format!("salt of {}", self.user).into_bytes()
    }

    /// Our proof, if the client's last message proves that it knows `password`. `believe` takes any proof.
    pub fn finish(&self, last: &[u8], password: &str, rounds: u32, believe: bool) -> Option<String> {
        let text = std::str::from_utf8(last).ok()?;
        let (without, proof) = text.rsplit_once(",p=")?;
        let expected = format!("c={},r={}", base64(self.header.as_bytes()), self.nonce);
        if without != expected {
            return None;
        }
        let mut salted = [0u8; 32];
        let password = if believe { "something else" } else { password };
        let count = NonZeroU32::new(rounds)?;
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, &self.salt(), password.as_bytes(), &mut salted);
        let signed = format!("{},{},{without}", self.bare, self.challenge(rounds));
        let client = mac(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, &client);
        let signature = mac(stored.as_ref(), signed.as_bytes());
        let proof = unbase64(proof.as_bytes())?;
        let shown: Vec<u8> = proof.iter().zip(&signature).map(|(p, s)| p ^ s).collect();
        let proven = believe
            || (proof.len() == 32 && digest::digest(&digest::SHA256, &shown).as_ref() == stored.as_ref());
        proven.then(|| format!("v={}", base64(&mac(&mac(&salted, b"Server Key"), signed.as_bytes()))))
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

/// A name with its escapes resolved; `None` for others than `=2C` and `=3D`.
fn name(escaped: &str) -> Option<String> {
    let plain = escaped.replace("=2C", ",").replace("=3D", "\u{1}");
    (!plain.contains('=')).then(|| plain.replace('\u{1}', "="))
}
