//! Clients that keep others waiting.

use std::time::Duration;

use storage::{Oid, Tid};
use zeo::{HubOptions, ProtocolError, Reply, Request};

use crate::pair::{Client, epoch, hub_with, memory};

const ALLOWED: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_silent_voter_is_given_up_and_the_next_in_line_votes() {
    let hub = hub_with(memory(), HubOptions::default());
    let mut silent = Client::registered(&hub);
    let mut second = Client::registered(&hub);
    let start = epoch();
    assert!(hub.handle_timeout(start).unwrap() > start, "a look is due");
    let id = silent.begin(Oid::new(1), Tid::ZERO, b"lost");
    silent.ask(&Request::Vote(id.clone())).unwrap();
    let other = second.begin(Oid::new(1), Tid::ZERO, b"kept");
    let vote = second.call(&Request::Vote(other.clone()));
    second.settle();

    hub.handle_timeout(start);
    hub.handle_timeout(start + ALLOWED - MOMENT);
    silent.hear();
    assert_eq!(silent.error, None);
    hub.handle_timeout(start + ALLOWED);
    // Its finish comes too late, even should it be read before the connection is closed.
    silent.call(&Request::TpcFinish(id));
    assert!(silent.jobs.is_empty());
    let expected = ProtocolError::TransactionTimeout { seconds: 20 };
    assert_eq!(silent.error, Some(expected));
    second.hear();
    assert_eq!(second.answer(vote), None);

    let release = silent.connection.disconnect();
    release.expect("the turn is ended by a job").run();
    second.settle();
    assert_eq!(second.answer(vote), Some(Ok(Reply::Voted(vec![]))));
    // Its own time has only begun.
    hub.handle_timeout(start + ALLOWED + MOMENT);
    let finished = second.ask(&Request::TpcFinish(other));
    assert_eq!(finished, Ok(Reply::Tid(Tid::new(1))));
}

#[test]
fn a_finish_that_takes_long_is_not_timed_out() {
    let hub = hub_with(memory(), HubOptions::default());
    let mut client = Client::registered(&hub);
    let id = client.begin(Oid::new(1), Tid::ZERO, b"state");
    client.ask(&Request::Vote(id.clone())).unwrap();
    let start = epoch();
    hub.handle_timeout(start);
    let finish = client.call(&Request::TpcFinish(id));
    hub.handle_timeout(start + 2 * ALLOWED);
    client.settle();
    assert_eq!(client.answer(finish), Some(Ok(Reply::Tid(Tid::new(1)))));
}

#[test]
fn the_timeout_may_be_switched_off() {
    let options = HubOptions {
        transaction_timeout: None,
        ..HubOptions::default()
    };
    let hub = hub_with(memory(), options);
    assert_eq!(hub.handle_timeout(epoch()), None);
}
