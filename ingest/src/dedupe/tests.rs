use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn first(offset: u64, seconds: i64) -> First {
    let lead_id = Addressing::default().id(Partition(0), Offset(offset));
    First { lead_id, contact_id: ContactId(uuid::Uuid::nil()), received_at: at(seconds) }
}

fn window(max_entries: usize) -> Arc<Window> {
    Window::new(Addressing::default(), 60, max_entries)
}

fn ask(window: &Arc<Window>, key: u128, seconds: i64) -> Option<First> {
    match window.reserve(SubmissionKey(key), at(seconds), u64::MAX) {
        Slotted::Known(first) => Some(first),
        Slotted::New => {
            window.release(SubmissionKey(key), u64::MAX);
            None
        }
        Slotted::Pending(_) => panic!("nobody holds it"),
    }
}

#[test]
fn a_submission_is_known_until_the_window_has_passed() {
    let window = window(10);
    window.learn([(SubmissionKey(1), first(0, 0))], at(0));
    assert_eq!(ask(&window, 1, 59), Some(first(0, 0)));
    assert_eq!(ask(&window, 1, 60), None);
    assert_eq!(ask(&window, 2, 0), None);
}

#[test]
fn the_oldest_go_first_in_whatever_order_they_were_learnt() {
    let window = window(2);
    for (key, seconds) in [(1, 5), (2, 1), (3, 3)] {
        window.learn([(SubmissionKey(key), first(key as u64, seconds))], at(5));
    }
    assert_eq!(window.slots.len(), 2);
    assert_eq!(ask(&window, 2, 6), None);
    assert!(ask(&window, 1, 6).is_some() && ask(&window, 3, 6).is_some());
}

#[test]
fn forgetting_a_replaced_entry_leaves_its_successor() {
    let window = window(10);
    window.learn([(SubmissionKey(1), first(0, 0))], at(0));
    window.learn([(SubmissionKey(1), first(9, 70))], at(59));
    window.learn([], at(61));
    assert_eq!(ask(&window, 1, 71), Some(first(9, 70)));
    window.learn([], at(200));
    assert_eq!(window.slots.len(), 0);
}

#[test]
fn of_two_in_one_partition_the_lower_offset_is_the_first() {
    let window = window(10);
    window.learn([(SubmissionKey(1), first(7, 0))], at(0));
    window.learn([(SubmissionKey(1), first(4, 1))], at(1));
    window.learn([(SubmissionKey(1), first(8, 1))], at(1));
    assert_eq!(ask(&window, 1, 2), Some(first(4, 1)));
}

#[tokio::test]
async fn a_waiter_is_woken_by_success_failure_and_the_log() {
    for outcome in 0..3 {
        let window = window(10);
        let key = SubmissionKey(1);
        assert!(matches!(window.reserve(key, at(0), 1), Slotted::New));
        let Slotted::Pending(waiter) = window.reserve(key, at(0), 2) else { panic!("it is pending") };
        match outcome {
            0 => window.learn([(key, first(0, 0))], at(0)),
            1 => window.release(key, 1),
            _ => drop(Reservations {
                window: Arc::clone(&window),
                owner: 1,
                held: Many::from_iter([Held {
                    keys: [Some(key), None],
                    contact_id: ContactId(uuid::Uuid::nil()),
                    received_at: at(0),
                }]),
            }),
        }
        waiter.await;
        assert_eq!(ask(&window, 1, 1), (outcome == 0).then(|| first(0, 0)));
    }
}

#[test]
fn what_was_appended_without_being_noted_is_read_in_the_log() {
    let window = window(10);
    let partition = Partition(0);
    let append = |offset: u64| {
        window.take_in([(SubmissionKey(offset.into()), first(offset, 0))], Source::Append, at(0));
    };
    append(0);
    assert_eq!(window.take_notes(), None);
    window.keep_notes();
    append(1);
    window.keep_notes();
    assert_eq!(window.own_from(partition, Offset(0)), Stretch { next: Offset(0), others: Some(1) });
    window.learn([(SubmissionKey(0), first(0, 0))], at(0));
    window.learn_noted([(SubmissionKey(5), first(5, 0))], at(0));
    assert_eq!(window.own_from(partition, Offset(1)), Stretch { next: Offset(2), others: None });
    let noted = window.take_notes().unwrap().leads.into_iter().map(|(key, _)| key.0);
    assert_eq!(noted.collect::<Vec<_>>(), [1, 0], "also what the window knew already");
    window.end_notes();
    append(2);
    assert_eq!(window.take_notes(), None);
}

#[test]
fn a_stranger_cannot_release_what_another_holds() {
    let window = window(10);
    assert!(matches!(window.reserve(SubmissionKey(1), at(0), 1), Slotted::New));
    window.release(SubmissionKey(1), 2);
    assert!(matches!(window.reserve(SubmissionKey(1), at(0), 2), Slotted::Pending(_)));
}
