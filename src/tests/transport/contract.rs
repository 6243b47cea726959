//! The contract test itself: it accepts what keeps the contract, and names the rule that each planted mistake violates.

use crate::sim::{ContractRule, transport_contract};
use crate::tests::transport::cipher::{Cipher, Mistake, Role};

const SEEDS: std::ops::Range<u64> = 0..300;

#[test]
fn simulated_socket_keeps_the_contract() {
    transport_contract(SEEDS, |socket| socket, |socket| socket).unwrap();
}

#[test]
fn cipher_keeps_the_contract_as_server() {
    transport_contract(SEEDS, |socket| Cipher::new(socket, Role::Server), |socket| Cipher::new(socket, Role::Client))
        .unwrap();
}

#[test]
fn cipher_keeps_the_contract_as_client() {
    transport_contract(SEEDS, |socket| Cipher::new(socket, Role::Client), |socket| Cipher::new(socket, Role::Server))
        .unwrap();
}

#[test]
fn cipher_on_cipher_keeps_the_contract() {
    transport_contract(
        0..300,
        |socket| Cipher::new(Cipher::new(socket, Role::Server), Role::Server),
        |socket| Cipher::new(Cipher::new(socket, Role::Client), Role::Client),
    )
    .unwrap();
}

#[test]
fn each_planted_mistake_violates_its_rule() {
    let expected = [
        (Mistake::LosesEdge, ContractRule::LostEdge),
        (Mistake::LosesRoom, ContractRule::LostEdge),
        (Mistake::WaitsSilently, ContractRule::LostEdge),
        (Mistake::EndsAtPartialRecord, ContractRule::EndOfStream),
        (Mistake::BlocksOnInput, ContractRule::HeldInput),
        (Mistake::HidesInput, ContractRule::HeldInput),
        (Mistake::HidesOutput, ContractRule::HeldOutput),
        (Mistake::Duplicates, ContractRule::ExactBytes),
        (Mistake::KeepsWish, ContractRule::StaleWish),
        (Mistake::ForgetsFlush, ContractRule::ClosingHandshake),
        (Mistake::SkipsClosing, ContractRule::ClosingHandshake),
        (Mistake::AcceptsTruncation, ContractRule::Failure),
        (Mistake::SwallowsReset, ContractRule::Failure),
        (Mistake::WritesNothing, ContractRule::Length),
        (Mistake::IsInterrupted, ContractRule::BusyLoop),
    ];
    let mut wrong = Vec::new();
    for (mistake, rule) in expected {
        let outcome = transport_contract(
            SEEDS,
            |socket| Cipher::with_mistake(socket, Role::Server, mistake),
            |socket| Cipher::new(socket, Role::Client),
        );
        match outcome {
            Err(violation) if violation.rule == rule => {}
            outcome => wrong.push(format!("{mistake:?}: {outcome:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn violation_names_rule_seed_and_observation() {
    let outcome = transport_contract(
        0..100,
        |socket| Cipher::with_mistake(socket, Role::Server, Mistake::KeepsWish),
        |socket| Cipher::new(socket, Role::Client),
    );
    let violation = outcome.unwrap_err();
    let text = violation.to_string();
    assert!(text.starts_with("StaleWish violated (a wish ends when it is fulfilled) with seed "), "{text}");
    assert_eq!(format!("{violation:?}"), text);
    // The seed alone gives the same.
    let again = transport_contract(
        violation.seed..violation.seed + 1,
        |socket| Cipher::with_mistake(socket, Role::Server, Mistake::KeepsWish),
        |socket| Cipher::new(socket, Role::Client),
    );
    assert_eq!(again, Err(violation));
}
