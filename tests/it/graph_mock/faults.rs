//! Faults by script, and requests whose caller vanished.

use mailwave::mock::graph::Latency;

use super::*;

#[tokio::test(start_paused = true)]
async fn every_kind_of_fault_fires_and_is_counted() {
    let faults = vec![
        Fault::Status { status: 503, retry_after: Some(7) },
        Fault::DoneBut { status: 504, retry_after: None },
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::LateCommit { after_ms: 30_000, gateway_timeout: true },
        Fault::LateCommit { after_ms: 30_000, gateway_timeout: false },
        Fault::EmptyBody,
        Fault::HtmlBody,
        Fault::Lost,
        Fault::Slow { ms: 9000 },
        Fault::Truncated { keep: 10 },
    ];
    let tenant = Tenant::new(GraphOptions::default()).await;
    let rules = faults.iter().zip(1..).map(|(f, n)| ("POST", "/messages", When::Nth(vec![n]), f.clone()));
    tenant.mock.faults(script(rules.collect()));
    let url = format!("/users/{ANN}/mailFolders/inbox/messages");
    let count = || tenant.mock.truth().mailboxes[ANN].folders["Inbox"].messages.len();
    let mut expected = 0;
    for fault in &faults {
        let before = tokio::time::Instant::now();
        let headers = [("content-type", "application/json")];
        let wire = tenant.wire(Method::POST, &url, &headers, stamped("s").to_string()).await;
        let done = match fault {
            Fault::Status { .. } => {
                let answer = answered(wire);
                assert_eq!((answer.status, answer.retry_after()), (503, Some(7)));
                false
            }
            Fault::DoneBut { .. } => {
                assert_eq!(answered(wire).status, 504);
                true
            }
            Fault::ResetBefore => {
                assert!(matches!(wire, Wire::NeverArrived));
                false
            }
            Fault::ResetAfter => {
                assert!(matches!(wire, Wire::NoAnswer));
                true
            }
            Fault::LateCommit { gateway_timeout, .. } => {
                if *gateway_timeout {
                    assert_eq!(answered(wire).status, 504);
                } else {
                    assert!(matches!(wire, Wire::NoAnswer));
                }
                assert_eq!(count(), expected, "not yet");
                assert_eq!(tenant.mock.truth().pending, 1);
                tokio::time::advance(Duration::from_secs(31)).await;
                true
            }
            Fault::EmptyBody => {
                let answer = answered(wire).expect(201);
                assert!(answer.body.is_empty());
                true
            }
            Fault::HtmlBody => {
                assert!(answered(wire).expect(201).body.starts_with(b"<!DOCTYPE"));
                true
            }
            Fault::Lost => {
                answered(wire).expect(201).id();
                false
            }
            Fault::Slow { .. } => {
                assert!(before.elapsed() >= Duration::from_secs(9));
                answered(wire).expect(201);
                true
            }
            Fault::Truncated { keep } => {
                assert_eq!(answered(wire).expect(201).body.len(), *keep);
                true
            }
            other => unreachable!("`more_faults` has the others: {other:?}"),
        };
        expected += usize::from(done);
        assert_eq!(count(), expected, "{fault:?}");
    }
    assert!(tenant.mock.fault_counts().values().all(|n| *n >= 1), "{:?}", tenant.mock.fault_counts());
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_caller_vanished_is_acted_on_when_its_time_has_come() {
    for (commit, made) in [(true, 1), (false, 0)] {
        let options = GraphOptions {
            latency: Latency { base_ms: 1000, ..Latency::default() },
            commit_abandoned: commit,
            ..GraphOptions::default()
        };
        let tenant = Tenant::new(options).await;
        let url = format!("/users/{ANN}/messages");
        let body = json!({"subject": "x"});
        let call = tenant.post(&url, &body);
        assert!(tokio::time::timeout(Duration::from_millis(500), call).await.is_err());
        assert_eq!(tenant.mock.counters().creates, 0);
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(tenant.mock.truth().mailboxes[ANN].folders["Drafts"].messages.len(), made);
        // Its place among the requests at once was given back.
        let calls = futures_util::future::join_all((0..4).map(|_| tenant.get(&url))).await;
        assert!(calls.iter().all(|a| a.status == 200));
    }
}

#[tokio::test(start_paused = true)]
async fn at_a_freeze_what_was_sent_is_committed_or_forgotten() {
    for commit in [true, false] {
        let tenant = Tenant::new(GraphOptions::default()).await;
        let fault = Fault::LateCommit { after_ms: 3_600_000, gateway_timeout: true };
        tenant.mock.faults(script(vec![("POST", "", When::Always, fault)]));
        tenant.post(&format!("/users/{ANN}/messages"), &json!({})).await.expect(504);
        let acts = if commit { tenant.mock.freeze_later_commits() } else { tenant.mock.forget_pending() };
        assert_eq!((acts, tenant.mock.truth().pending), (1, 0));
        assert_eq!(tenant.mock.counters().creates, u64::from(commit));
    }
}
