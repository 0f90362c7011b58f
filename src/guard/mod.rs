//! Everything that touches text we did not write: secrets, and what comes from servers, files and operators.
//!
//! The rule: foreign text reaches a terminal only through [`Shown`], a CSV file only through [`cell`], and a secret
//! reaches nothing but the wire it is for ([`Secret`] and `secrecy` print no octet of it).

mod cell;
pub mod files;
mod secret;
mod shown;

pub use cell::cell;
pub use secret::{PasswordFile, Secret, SecretFrom};
pub use shown::{Shown, has_control};
