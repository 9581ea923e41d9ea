//! The macros that turn the suite into tests.

/// Makes a `#[test]` of each property in [`crate::suite`] that every storage has to have, however
/// far away it is. `$make` is a function that returns a [`crate::World`] with an empty storage.
#[macro_export]
macro_rules! storage_suite {
    ($make:path) => {
        $crate::storage_tests! { $make:
            an_empty_storage_knows_nothing
            a_revision_is_seen_from_its_transaction_on
            transaction_ids_rise
            records_of_all_sizes_come_back
            a_stale_base_is_a_conflict
            a_stale_check_is_a_read_conflict
            an_unknown_object_takes_any_base
            an_abort_at_any_stage_leaves_nothing
            a_conflict_frees_the_commit_lock
            the_last_record_of_an_object_wins
            an_empty_transaction_gets_an_id
            publish_comes_once_with_the_data_visible
            changes_are_listed
            new_oids_are_unique_across_threads
            new_oids_are_above_stored_ones
            readers_see_whole_transactions
            waiting_votes_are_served_in_order
            no_increment_is_lost
            random_histories_agree_with_a_model
        }
    };
}

/// Makes the tests of [`storage_suite!`], and those that only a storage can pass which owns its
/// locks and its log itself.
#[macro_export]
macro_rules! local_storage_suite {
    ($make:path) => {
        $crate::storage_suite!($make);
        $crate::storage_tests! { $make:
            all_conflicts_are_listed
            publish_comes_before_others_have_the_object
            publish_tells_ids_in_order
            an_object_stored_twice_in_a_transaction_has_two_records
        }
    };
}

/// Makes the tests of what only some storages can do. Each is named, in this order, with `yes` or
/// `no`: what a storage lacks is refused, and that is tested. `pack far` is for a storage where somebody
/// else decides how it is packed: `what_was_replaced_is_packed_far_away`.
///
/// ```
/// # mod tests {
/// # fn make() -> sim::World {
/// #     sim::World::new(std::sync::Arc::new(storage::MemoryStorage::new()))
/// # }
/// sim::capabilities! { make: iterate yes, undo yes, delete yes, copy yes, pack yes }
/// # }
/// ```
#[macro_export]
macro_rules! capabilities {
    ($make:path: iterate $i:ident, undo $u:ident, delete $d:ident, copy $c:ident, pack $p:ident) => {
        $crate::capability! { $make: iterate $i }
        $crate::capability! { $make: undo $u }
        $crate::capability! { $make: delete $d }
        $crate::capability! { $make: copy $c }
        $crate::capability! { $make: pack $p }
        $crate::capability! { $make: all $i $u $d }
        $crate::capability! { $make: both $u $p }
    };
}

/// Makes the tests of one capability, or of several together.
#[doc(hidden)]
#[macro_export]
macro_rules! capability {
    ($make:path: iterate yes) => {
        $crate::storage_tests! { $make:
            iteration_shows_all_that_was_stored
            iteration_keeps_to_its_span
            iteration_ends_where_it_began
            load_serial_finds_what_a_transaction_wrote
            a_history_is_listed_newest_first
            current_records_are_walked_in_the_order_of_their_ids
        }
    };
    ($make:path: iterate no) => {
        $crate::storage_tests! { $make: iteration_is_not_offered }
    };
    ($make:path: undo yes) => {
        $crate::storage_tests! { $make:
            an_undo_brings_the_older_state_back
            an_undone_creation_is_the_end_of_the_object
            several_undos_make_one_transaction
            an_undo_of_what_was_changed_later_is_refused
            the_obstacles_of_an_undo_are_named
            an_unknown_transaction_cannot_be_undone
            an_undo_sees_what_its_own_transaction_stored
            the_undo_log_is_listed_newest_first
        }
    };
    ($make:path: undo no) => {
        $crate::storage_tests! { $make: undo_is_not_offered }
    };
    ($make:path: delete yes) => {
        $crate::storage_tests! { $make:
            a_deleted_object_does_not_exist
            a_deletion_from_a_stale_base_is_a_conflict
            an_unknown_object_cannot_be_deleted
            a_check_of_a_deleted_object_fails
        }
    };
    ($make:path: delete no) => {
        $crate::storage_tests! { $make: deletion_is_not_offered }
    };
    ($make:path: copy yes) => {
        $crate::storage_tests! { $make:
            a_copy_has_all_that_the_source_has
            a_copied_transaction_says_that_it_was_packed
            a_copy_of_an_older_transaction_is_refused
            a_copied_record_keeps_its_data_where_the_source_of_them_is_missing
        }
    };
    ($make:path: copy no) => {
        $crate::storage_tests! { $make: copying_is_not_offered }
    };
    ($make:path: pack yes) => {
        $crate::storage_tests! { $make:
            a_pack_takes_only_what_was_replaced_before_its_time
            a_pack_of_what_is_all_current_changes_nothing
        }
    };
    ($make:path: pack far) => {
        $crate::storage_tests! { $make: what_was_replaced_is_packed_far_away }
    };
    ($make:path: pack no) => {
        $crate::storage_tests! { $make: packing_is_not_offered }
    };
    ($make:path: all yes yes yes) => {
        $crate::storage_tests! { $make:
            a_deletion_can_be_undone
            a_deletion_is_part_of_the_history
            random_actions_have_the_effect_that_they_have_in_memory
        }
    };
    ($make:path: all $i:ident $u:ident $d:ident) => {};
    ($make:path: both yes yes) => {
        $crate::storage_tests! { $make: what_was_packed_cannot_be_undone }
    };
    ($make:path: both $u:ident $p:ident) => {};
}

/// Makes a `#[test]` of each property named.
#[macro_export]
macro_rules! storage_tests {
    ($make:path: $($property:ident)*) => {$(
        #[test]
        fn $property() {
            $crate::suite::$property(&$make());
        }
    )*};
}
