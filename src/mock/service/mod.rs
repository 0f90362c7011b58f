//! What the mocks of Microsoft's services (Graph, EWS) have in common: how they run, what of them is kept on disk, scripts of
//! faults, and the small things both services write in the same way. What a service is strict about lies with the service.

pub(super) mod date;
pub(super) mod dice;
pub(super) mod flight;
pub(super) mod form;
pub(super) mod kept;
pub(super) mod mail;
pub(super) mod pending;
pub(super) mod script;
pub(super) mod shell;
pub(super) mod stream;
pub(super) mod tree;
pub(super) mod truth;

/// Whose work, in which mailbox: what limits are counted for.
pub(super) type Who = (String, String);

/// How many octets of a broken-off answer's body were announced; put among a response's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announced(pub(super) usize);
