//! SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding: the password is proven, not sent, and the server proves
//! that it knows it too.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use encodify::base64::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::refusal::Refused;
use super::sasl::{Sasl, broken, sasl_name};
use crate::imap::WireError;

/// Octets of a SHA-256.
const LEN: usize = 32;
/// Rounds of PBKDF2 a server may ask for. Fewer would let whoever listens guess the password cheaply (RFC 7677 §4), more
/// would let a server burn our CPU: a million take about half a second.
const ROUNDS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;
/// Longest salt, in bytes.
const LONGEST_SALT: usize = 1024;

/// What is derived from a password, a salt and a number of rounds: as secret as the password itself.
pub struct Keys {
    user: String,
    salt: Vec<u8>,
    rounds: u32,
    client: Zeroizing<[u8; LEN]>,
    server: Zeroizing<[u8; LEN]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    fn derive(user: &str, password: &SecretString, salt: Vec<u8>, rounds: NonZeroU32) -> Keys {
        let mut salted = Zeroizing::new([0u8; LEN]);
        let password = password.expose_secret().as_bytes();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password, salted.as_mut());
        let key = |name: &[u8]| Zeroizing::new(mac(salted.as_ref(), name));
        let (client, server) = (key(b"Client Key"), key(b"Server Key"));
        Keys { user: user.to_owned(), salt, rounds: rounds.get(), client, server }
    }
}

fn mac(key: &[u8], text: &[u8]) -> [u8; LEN] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let mut out = [0u8; LEN];
    out.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// Our side of one exchange.
pub(super) struct Scram<'a> {
    user: &'a str,
    password: &'a SecretString,
    keys: &'a mut Option<Keys>,
    /// `n,` and the authorisation id, then `,` (RFC 5802 §7).
    header: String,
    bare: String,
    nonce: String,
    stage: Stage,
}

enum Stage {
    First,
    /// What the server must sign.
    Proven(Zeroizing<[u8; LEN]>),
    Verified,
}

impl<'a> Scram<'a> {
    pub fn new(
        user: &'a str,
        act_as: &str,
        password: &'a SecretString,
        keys: &'a mut Option<Keys>,
    ) -> Result<Scram<'a>, Refused> {
        // Randomness of the protocol, as TLS draws its own: it decides nothing in a run.
        let mut octets = [0u8; 18];
        rand::fill(&mut octets).map_err(|_| broken("no randomness is to be had"))?;
        Scram::with_nonce(user, act_as, password, keys, STANDARD.encode(octets))
    }

    fn with_nonce(
        user: &'a str,
        act_as: &str,
        password: &'a SecretString,
        keys: &'a mut Option<Keys>,
        nonce: String,
    ) -> Result<Scram<'a>, Refused> {
        if [user, act_as, password.expose_secret()].iter().any(|s| s.contains('\0')) {
            return Err(WireError::Unsendable.into());
        }
        let authorisation =
            if act_as.is_empty() { String::new() } else { format!("a={}", sasl_name(act_as)) };
        Ok(Scram {
            user,
            password,
            keys,
            header: format!("n,{authorisation},"),
            bare: format!("n={},r={nonce}", sasl_name(user)),
            nonce,
            stage: Stage::First,
        })
    }

    /// The server's salt and rounds; our proof.
    fn prove(&mut self, challenge: &str) -> Result<String, Refused> {
        let mut fields = challenge.split(',');
        let mut field = |name: &str| fields.next().and_then(|f| f.strip_prefix(name));
        let (Some(nonce), Some(salt), Some(rounds)) = (field("r="), field("s="), field("i=")) else {
            return Err(broken("SCRAM's first message cannot be read"));
        };
        let fresh = nonce.strip_prefix(&self.nonce).is_some_and(|rest| !rest.is_empty());
        if !fresh || nonce.len() > 1024 || !nonce.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(broken("SCRAM's nonce is not a fresh one"));
        }
        let salt = STANDARD.decode(salt).ok().filter(|s| (1..=LONGEST_SALT).contains(&s.len()));
        let salt = salt.ok_or_else(|| broken("SCRAM's salt cannot be read"))?;
        let rounds = rounds.parse().ok().filter(|n| ROUNDS.contains(n)).and_then(NonZeroU32::new);
        let rounds =
            rounds.ok_or_else(|| broken("SCRAM's iteration count is not within 4,096 and 1,000,000"))?;

        let known = |k: &&Keys| k.user == self.user && k.salt == salt && k.rounds == rounds.get();
        if self.keys.as_ref().filter(known).is_none() {
            *self.keys = Some(Keys::derive(self.user, self.password, salt, rounds));
        }
        let Some(keys) = self.keys.as_ref() else { return Err(broken("SCRAM has no keys")) };
        let last = format!("c={},r={nonce}", STANDARD.encode(&self.header));
        let signed = format!("{},{challenge},{last}", self.bare);
        let stored = digest::digest(&digest::SHA256, keys.client.as_ref());
        let signature = mac(stored.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = keys.client.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        self.stage = Stage::Proven(Zeroizing::new(mac(keys.server.as_ref(), signed.as_bytes())));
        Ok(format!("{last},p={}", STANDARD.encode(proof)))
    }
}

impl Sasl for Scram<'_> {
    fn name(&self) -> &'static str {
        "SCRAM-SHA-256"
    }

    fn first(&mut self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(format!("{}{}", self.header, self.bare).into_bytes())
    }

    fn answer(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let text = std::str::from_utf8(challenge).map_err(|_| broken("SCRAM's message is not UTF-8"))?;
        match &self.stage {
            Stage::First => self.prove(text).map(|proof| Zeroizing::new(proof.into_bytes())),
            Stage::Proven(expected) => {
                if text.starts_with("e=") {
                    // The refusal itself follows in the tagged answer.
                    return Ok(Zeroizing::default());
                }
                let first = text.split(',').next().and_then(|f| f.strip_prefix("v="));
                let signature = first.and_then(|v| STANDARD.decode(v).ok()).unwrap_or_default();
                if constant_time::verify_slices_are_equal(&signature, expected.as_ref()).is_err() {
                    return Err(impostor());
                }
                self.stage = Stage::Verified;
                Ok(Zeroizing::default())
            }
            Stage::Verified => Err(broken("SCRAM has no third challenge")),
        }
    }

    fn accepted(&mut self) -> Result<(), Refused> {
        if matches!(self.stage, Stage::Verified) { Ok(()) } else { Err(impostor()) }
    }
}

/// Whoever answers does not know the password: another sits in between, or the server is broken.
fn impostor() -> Refused {
    use crate::model::{Error, Kind, Scope};
    Error::new(
        Kind::Auth,
        Scope::Endpoint,
        "the server did not prove that it knows the password (SCRAM); it may not be the one it says it is",
    )
    .remedy("check `host` and who answers there; nothing secret was sent")
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(answer: Result<Zeroizing<Vec<u8>>, Refused>) -> String {
        String::from_utf8(answer.expect("an answer").to_vec()).expect("text")
    }

    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    /// RFC 7677 §3.
    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let (password, mut keys) = (SecretString::from("pencil"), None);
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        for _ in 0..2 {
            let mut scram =
                Scram::with_nonce("user", "", &password, &mut keys, nonce.clone()).expect("sendable");
            assert_eq!(&**scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
            assert_eq!(
                text(scram.answer(SERVER_FIRST.as_bytes())),
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
            );
            assert!(scram.accepted().is_err(), "an OK before the server's proof is none");
            assert_eq!(text(scram.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")), "");
            assert!(scram.accepted().is_ok());
        }
    }

    #[test]
    fn a_hostile_server_neither_burns_cpu_nor_weakens_the_proof_nor_passes_for_the_real_one() {
        let password = SecretString::from("pencil");
        for wrong in [
            SERVER_FIRST.replace("i=4096", "i=1"),
            SERVER_FIRST.replace("i=4096", "i=1000001"),
            SERVER_FIRST.replace("i=4096", "i=99999999999"),
            SERVER_FIRST.replace("i=4096", "i=-1"),
            SERVER_FIRST.replace("rOprNGfwEbeRWgbNEkqO%", "XOprNGfwEbeRWgbNEkqO%"),
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".to_owned(),
            SERVER_FIRST.replace("s=W22ZaJ0SNY7soEsUEjb6gQ==", "s="),
            SERVER_FIRST.replace("s=W22ZaJ0SNY7soEsUEjb6gQ==", "s=*"),
            format!("m=must-know,{SERVER_FIRST}"),
            String::new(),
        ] {
            let (mut keys, nonce) = (None, "rOprNGfwEbeRWgbNEkqO".to_owned());
            let mut scram = Scram::with_nonce("user", "", &password, &mut keys, nonce).expect("sendable");
            assert!(scram.answer(wrong.as_bytes()).is_err(), "{wrong}");
        }
        for wrong in ["v=AAAA", "v=", "", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="] {
            let (mut keys, nonce) = (None, "rOprNGfwEbeRWgbNEkqO".to_owned());
            let mut scram = Scram::with_nonce("user", "", &password, &mut keys, nonce).expect("sendable");
            scram.answer(SERVER_FIRST.as_bytes()).expect("an answer");
            assert!(scram.answer(wrong.as_bytes()).is_err() && scram.accepted().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_escaped_and_the_mailbox_is_the_authorisation_id() {
        let (password, mut keys) = (SecretString::from("x"), None);
        let mut scram =
            Scram::with_nonce("m=a,b", "ann,=", &password, &mut keys, "N".to_owned()).expect("sendable");
        assert_eq!(&**scram.first(), b"n,a=ann=2C=3D,n=m=3Da=2Cb,r=N");
    }
}
