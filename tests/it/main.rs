//! Behaviour seen from outside: contracts of the seams, real servers, crashes, the command line.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod bad_input;
mod canary;
mod cli;
mod contract_http;
mod contract_ledger;
mod contract_source;
mod contract_target;
mod cyrus;
mod deltas;
mod dovecot;
mod ews_mock;
mod ews_target;
mod files;
mod gmail;
mod graph_faults;
mod graph_json;
mod graph_mock;
mod graph_target;
mod graph_ways;
mod imap_login;
mod imap_mock;
mod imap_offers;
mod imap_road;
mod imap_target;
mod kill;
mod layers;
mod ledger_check;
mod numbered_passes;
mod passes;
mod quickstart;
mod road;
mod support;
mod trial;
mod troubles;
