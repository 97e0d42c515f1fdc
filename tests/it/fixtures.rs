//! What registries have done to other tools in the field, and which of our tests stand against it: a
//! table to look things up in, held against the source so that it stays true.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where it happens; what happens, indented; below it the tests that tell of it, by their modules.
const TABLE: &str = "
Listings
  a page of 100 and a relative Link
    large_listings::a_catalog_that_comes_a_hundred_names_at_a_time_is_read_to_the_last
  n over 1000: 400 PAGINATION_NUMBER_INVALID
    paging::a_page_length_that_is_refused_is_shortened
    paging::a_registry_that_takes_no_page_length_at_all_is_asked_without
  n over 1000: 405 or 400 UNSUPPORTED
    paging::a_page_length_that_is_refused_is_shortened
  a Link to http:// behind https
    large_listings::links_to_plain_http_are_followed_over_tls
  a Link to another host or path
    paging::a_link_to_another_host_or_path_gives_only_its_query
  a Link with an opaque cursor
    paging::a_link_may_be_written_in_any_way_that_registries_write_it
  Links in a circle
    paging::a_link_that_leads_back_is_a_failed_listing_and_what_was_known_stays
    paging::a_full_page_that_always_comes_again_ends_the_listing
  two Links in a header, rel=prev first
    paging::a_link_may_be_written_in_any_way_that_registries_write_it
  Basic for the catalog, Bearer for repositories
    auth::a_registry_may_want_basic_for_its_catalog_and_bearer_for_its_repositories
    harbor::a_harbor_shows_a_projects_robot_what_its_catalog_hides
  a catalog that is closed or unknown
    paging::a_catalog_that_is_closed_is_told_with_its_answer_and_tried_again
    discovery::where_nothing_is_listed_a_charts_index_tells_what_lies_beside_it
  a catalog that is empty or null
    paging::an_empty_registry_gives_an_empty_index
    discovery::an_empty_catalog_may_hide_what_a_charts_index_tells
    freshness::a_catalog_that_turns_empty_once_is_not_believed
  a catalog that takes a minute
    large_listings::a_catalog_that_takes_longer_than_any_other_answer_may_is_waited_for
  tags that are null
    paging::a_repository_without_tags_is_no_failure
  tags of a repository that isn't known
    paging::a_repository_without_tags_is_no_failure
  tags refused for one repository
    auth::one_repository_that_asks_for_other_credentials_costs_only_itself
  a cursor whose name has vanished
    paging::a_listing_whose_cursor_is_lost_on_the_way_is_begun_again
  a page of HTML with status 200
    faults::a_repository_or_tag_that_fails_costs_nothing_else
    paging::a_catalog_that_is_closed_is_told_with_its_answer_and_tried_again
  ten thousand tags without a Link
    large_listings::ten_thousand_tags_on_one_page_without_a_link_are_all_looked_at

Authentication
  a relative realm
    auth::a_challenge_may_be_written_in_any_way_that_registries_write_it
  a realm with a query
    auth::a_challenge_may_be_written_in_any_way_that_registries_write_it
  token, access_token or both
    auth::a_challenge_may_be_written_in_any_way_that_registries_write_it
  expires_in absent, 0 or 30
    auth::a_challenge_may_be_written_in_any_way_that_registries_write_it
  a token server that throttles
    auth::a_token_server_that_throttles_is_given_the_time_it_asks_for
  a token server without POST
    auth::a_token_server_without_oauth2_is_asked_for_an_identity_token_by_get
  an identity token
    auth::an_identity_token_is_exchanged_by_post
  two WWW-Authenticate headers
    auth::a_challenge_may_be_written_in_any_way_that_registries_write_it
  a comma in a quoted scope
    auth::a_challenge_may_be_written_in_any_way_that_registries_write_it
  a token that dies in the midst of a walk
    auth::a_token_that_dies_before_its_time_is_replaced_once_on_401
  credentials that are rotated on disk
    credentials::a_rotated_secret_is_used_from_the_next_refresh_on
  a redirect to another host
    credentials::credentials_never_follow_a_redirect_to_another_host
    credentials::a_challenge_from_where_a_redirect_led_gets_no_credentials

Manifests
  a HEAD without a digest
    frugal::a_registry_without_heads_or_digests_is_asked_for_manifests_instead
  a HEAD that is answered by 405
    frugal::a_registry_without_heads_or_digests_is_asked_for_manifests_instead
  an index of an image and its chart
    image_indexes::a_chart_beside_images_in_an_index_is_listed_and_the_images_are_not_read
  an index of two charts
    image_indexes::an_index_of_several_charts_or_of_none_is_skipped_with_its_reason
  a Docker image
    walk::charts_are_listed_and_everything_beside_them_is_skipped_with_its_reason
  a Docker image of schema 1
    walk::charts_are_listed_and_everything_beside_them_is_skipped_with_its_reason
  an artifact with an artifactType alone
    walk::charts_are_listed_and_everything_beside_them_is_skipped_with_its_reason
  signatures, referrers and artifacthub.io
    frugal::tags_of_signatures_and_of_other_companions_cost_nothing
  a provenance file before its archive
    walk::layers_may_be_legacy_swapped_or_beside_others_and_the_right_ones_are_taken
  an archive of Helm 3.0 to 3.6
    walk::layers_may_be_legacy_swapped_or_beside_others_and_the_right_ones_are_taken
  three layers
    walk::layers_may_be_legacy_swapped_or_beside_others_and_the_right_ones_are_taken
  no archive among the layers
    verdicts::a_manifest_that_holds_no_whole_chart_is_skipped_and_the_next_tag_is_read
  no mediaType in the manifest
    faults::headers_that_a_registry_leaves_out_or_gets_wrong_are_not_missed
  a config blob that is odd, wrong or huge
    verdicts::a_config_blob_that_is_no_charts_metadata_is_skipped_and_says_why
    verdicts::odd_fields_of_a_config_blob_are_made_to_fit_or_left_out
  a date that is none
    walk::created_is_the_manifests_annotation_when_that_is_a_date_and_absent_otherwise
  a version that isn't the tag
    walk::with_any_name_name_and_version_are_the_config_blobs_whatever_path_and_tag_say
  one name and version in two repositories
    walk::one_version_in_two_repositories_is_listed_once_from_the_shortest_name
  one version under two tags
    walk::several_tags_of_one_chart_version_are_one_entry
  a tag that has moved
    freshness::a_push_a_moved_tag_and_a_deletion_are_seen_without_a_restart
    frugal::a_tag_that_is_due_is_asked_for_its_digest_without_being_pulled
  a tag that has gone
    freshness::a_push_a_moved_tag_and_a_deletion_are_seen_without_a_restart
    frugal::a_tag_that_vanishes_between_listings_goes_when_it_is_due
  a repository that has gone
    freshness::a_push_a_moved_tag_and_a_deletion_are_seen_without_a_restart
  a policy against one tag: 412
    faults::a_repository_or_tag_that_fails_costs_nothing_else

Blobs
  a redirect to another host
    credentials::credentials_never_follow_a_redirect_to_another_host
  redirects in a circle
    integrity::a_failure_before_the_first_byte_reaches_the_client_as_a_status_and_the_log_in_detail
  a body that breaks off
    integrity::a_truncated_archive_is_never_whole
  wrong bytes
    integrity::a_flipped_bit_anywhere_costs_the_last_bytes
  chunks, and no length
    faults::headers_that_a_registry_leaves_out_or_gets_wrong_are_not_missed
    integrity::bytes_after_the_archive_are_not_passed_on
  a blob that has gone
    archives::a_version_that_was_pushed_again_is_found_when_its_old_archive_is_gone
  bytes that drip
    integrity::an_archive_that_drips_is_given_up
    archives::a_registry_that_drips_is_passed_on_as_it_comes

Faults
  429 with seconds, with a date, with nothing
    faults::a_registry_that_throttles_is_given_the_time_it_asks_for
    throttled::a_registry_that_limits_the_rate_of_requests_refuses_few_of_them
    freshness::a_registry_that_asks_for_a_rest_is_left_alone_by_everyone
    freshness::what_fails_in_a_refresh_keeps_its_charts_and_everything_else_moves_on
  503 for one tag
    start_stop::one_tag_that_never_answers_delays_the_first_index_and_does_not_prevent_it
  no registry at the start
    start_stop::a_registry_that_is_down_at_the_start_is_tried_again_until_it_is_there
  no registry at a refresh
    freshness::a_registry_that_goes_down_leaves_the_last_good_index_and_is_seen_again_when_it_is_back
  a connection that is reset in a walk
    faults::a_registry_that_stumbles_is_asked_again_and_nothing_is_lost
";

/// How many things happen.
const ROWS: usize = 64;

#[test]
fn every_row_of_the_table_names_tests_that_are_there() {
    let (mut rows, mut untold) = (0, None);
    let mut sources = BTreeMap::new();
    for line in TABLE.lines() {
        let indent = line.len() - line.trim_start().len();
        match indent {
            4 => {
                untold = None;
                assert_is_test(&mut sources, line.trim());
            }
            _ => assert_eq!(untold, None, "no test tells of it"),
        }
        if indent == 2 {
            rows += 1;
            untold = Some(line);
        }
    }
    assert_eq!((rows, untold), (ROWS, None));
}

fn assert_is_test(sources: &mut BTreeMap<String, String>, test: &str) {
    let (module, name) = test.split_once("::").expect("MODULE::TEST");
    let source = sources.entry(module.to_owned()).or_insert_with(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/{module}.rs"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    });
    assert!(
        source.contains(&format!("#[test]\nfn {name}() {{")),
        "{test} is no test"
    );
}
