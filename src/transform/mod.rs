//! Pure transforms: message octets and names into what a target takes. No clock, no network, and no disk but the spool
//! that a message already lies in ([`octets`]).
//!
//! A transform never panics on foreign bytes, is bounded in time and memory by the size of its input, and declares
//! what it cannot keep by short names ([`graph::losses`]).

pub mod base64;
pub mod decode;
pub mod ews;
pub mod graph;
pub mod import_mime;
pub mod json;
pub mod line_ends;
pub mod message_id;
pub mod mime;
pub mod names;
pub mod octets;
pub mod utf7;
pub mod xml;
