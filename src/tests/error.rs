use super::*;

#[test]
fn close_kinds_are_listed_in_order_with_distinct_names() {
    for (index, kind) in CloseKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, index);
        assert!(CloseKind::ALL[..index].iter().all(|other| other.name() != kind.name()));
    }
    let clean = [CloseReason::PeerFinished, CloseReason::ClosedByHandler, CloseReason::Detached, CloseReason::Drained];
    assert!(clean.iter().all(CloseReason::is_clean) && !CloseReason::Cut.is_clean());
    assert_eq!(CloseReason::TruncatedFrame { received: 3 }.kind(), CloseKind::TruncatedFrame);
}

#[test]
fn dial_error_of_emfile_and_enfile_is_no_descriptor() {
    for errno in [libc::EMFILE, libc::ENFILE] {
        assert_eq!(DialError::from(&io::Error::from_raw_os_error(errno)), DialError::NoDescriptor);
    }
    assert_ne!(DialError::from(&io::Error::from_raw_os_error(libc::ENOMEM)), DialError::NoDescriptor);
}
