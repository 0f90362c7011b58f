//! From this run to the real one: what it would take, and what is assumed in saying so.

use serde_json::{Value, json};

use crate::plan::{APP_REQUESTS, MAILBOX_MESSAGES, MAILBOX_OCTETS, NIGHT, Plan, UPLOAD, WEEKEND};
use crate::run::Came;
use crate::told::costs;

/// A node: its CPUs, the part of them that is used in earnest, Gbit/s of its network that are.
const NODE_CPUS: f64 = 8.0;
const NODE_LOAD: f64 = 0.7;
const NODE_GBIT: f64 = 7.0;

struct Outlook {
    name: &'static str,
    mailboxes: u64,
    gb_per_second: f64,
    messages_per_second: f64,
    cores: f64,
    gbit_in: f64,
    gbit_out: f64,
    nodes: f64,
    requests_per_second: f64,
    apps: f64,
    open: f64,
}

fn of(name: &'static str, (mailboxes, window): (u64, f64), plan: &Plan, came: &Came) -> Outlook {
    let rate = mailboxes as f64 / window;
    let gb = rate * MAILBOX_OCTETS / 1e9;
    let cores = gb * costs(plan, came).engine / NODE_LOAD;
    let out = came.counters.uploaded_bytes as f64 / plan.octets as f64;
    let (gbit_in, gbit_out) = (gb * 8.0, gb * 8.0 * out);
    let each = came.counters.requests as f64 / plan.messages as f64;
    let requests = rate * MAILBOX_MESSAGES * each;
    Outlook {
        name,
        mailboxes,
        gb_per_second: gb,
        messages_per_second: rate * MAILBOX_MESSAGES,
        cores,
        gbit_in,
        gbit_out,
        nodes: (cores / NODE_CPUS).max(gbit_in.max(gbit_out) / NODE_GBIT).ceil(),
        requests_per_second: requests,
        apps: (requests / APP_REQUESTS).ceil(),
        open: rate * (MAILBOX_OCTETS / UPLOAD.0 * UPLOAD.1),
    }
}

const ASSUMED: &[&str] = &[
    "the CPUs are like this machine's, and the engine costs per GB what it cost here: a mailbox here holds fewer messages, so that logging in, folders and counting weigh more than in life",
    "a node has 8 CPUs, of which 70 % are used, and 7 Gbit/s of network each way; TLS and TCP overhead are not counted in Gbit/s",
    "requests for each message as here (the fixed ones of a mailbox weigh more here); one app does 13,000 requests a second at most",
    "mailboxes open: as many as must be moving at once if each goes at the pace its upload limit allows",
    "source and service answer as fast as they are asked; what they take is not in this",
];

pub fn print(plan: &Plan, came: &Came) {
    println!("\nin life (first copy of all, at the cost per GB of this run):");
    for o in [of("night", NIGHT, plan, came), of("weekend", WEEKEND, plan, came)] {
        println!(
            "{:>8}: {} mailboxes, {:.2} GB/s, {:.0} messages/s: {:.1} cores, {:.1} Gbit/s in, {:.1} out, {:.0} nodes; {:.0} requests/s, {:.0} apps; {:.0} mailboxes open",
            o.name,
            o.mailboxes,
            o.gb_per_second,
            o.messages_per_second,
            o.cores,
            o.gbit_in,
            o.gbit_out,
            o.nodes,
            o.requests_per_second,
            o.apps,
            o.open
        );
    }
    ASSUMED.iter().for_each(|line| println!("  assumed: {line}"));
}

pub fn json(plan: &Plan, came: &Came) -> Value {
    let each = [of("night", NIGHT, plan, came), of("weekend", WEEKEND, plan, came)].map(|o| {
        json!({ "name": o.name, "mailboxes": o.mailboxes, "gb_per_second": o.gb_per_second,
            "messages_per_second": o.messages_per_second, "cores": o.cores, "gbit_in": o.gbit_in,
            "gbit_out": o.gbit_out, "nodes": o.nodes, "requests_per_second": o.requests_per_second, "apps": o.apps,
            "open": o.open })
    });
    json!({ "runs": each, "assumed": ASSUMED })
}
