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
/// commit lock and its log itself.
#[macro_export]
macro_rules! local_storage_suite {
    ($make:path) => {
        $crate::storage_suite!($make);
        $crate::storage_tests! { $make:
            all_conflicts_are_listed
            publish_runs_under_the_commit_lock
        }
    };
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
