//! The rules about files that trusted processes run code from.

use super::Rule;

pub const RULES: &[Rule] = &[
    (
        "files that are mapped as code are not judged",
        "hooks_memory.h",
        "\tif (image && file)",
        "\tif (image && file && 0)",
        "library::code_of_a_file_that_is_no_signed_library_costs_trust",
    ),
    (
        "a signature of any kind makes a library",
        "library.h",
        " || verdict->kind != BT_KIND_LIBRARY)",
        ")",
        "library::the_own_executable_is_no_library_of_another",
    ),
    (
        "a signature of anybody's makes a library",
        "library.h",
        "\tif (reason != BT_REASON_NONE || verdict->kind",
        "\tif (verdict->kind",
        "library::code_of_a_file_that_is_no_signed_library_costs_trust",
    ),
    (
        "every file with fs-verity is the own executable",
        "library.h",
        "!__builtin_memcmp(digest->bytes, image->digest.bytes, sizeof(digest->bytes))",
        "digest->size",
        "library::the_own_executable_is_no_library_of_another",
    ),
    (
        "a refused library is mapped as any other",
        "library.h",
        "\tif (is_refused(&scratch->image.digest))",
        "\tif (is_refused(&scratch->image.digest) && 0)",
        "library::a_refused_library_costs_trust",
    ),
    (
        "content that changes is as good as fs-verity",
        "library.h",
        "\tif (!scratch->image.digest.size) {",
        "\tif (0) {",
        "library-rule::verity_asks_for_content_that_stays",
    ),
    (
        "a library's publisher limits nothing",
        "entitle.h",
        "\tintersect(rights, &publisher->ceiling);\n\treturn BT_REASON_NONE;",
        "\treturn BT_REASON_NONE;",
        "library-rule::a_library_gives_no_more_than_its_publisher_may",
    ),
    (
        "a library that comes later limits nothing",
        "entitle.h",
        " &&\n\t       *(volatile u32 *)&image->heeded == count_signers(image);",
        ";",
        "library-rule::a_library_gives_no_more_than_its_publisher_may",
    ),
    (
        "a publisher of certain loaders signs everybody's libraries",
        "entitle.h",
        "\t\tif (!own || image->adopted || own->publisher != key->publisher)",
        "\t\tif (!own)",
        "library-rule::a_publisher_of_certain_loaders_signs_libraries_for_those",
    ),
    (
        "libraries outlive their key",
        "entitle.h",
        "\t\t\t\treason = admit_signers(image, generation, rights);",
        "\t\t\t\t;",
        "library-rule::the_libraries_of_a_key_that_goes_go_with_it",
    ),
    (
        "keys for which there is no room are forgotten",
        "library.h",
        "\treturn add_signer(image, key) ? BT_REASON_NONE : BT_REASON_RESOURCES;",
        "\tadd_signer(image, key);\n\treturn BT_REASON_NONE;",
        "library-rule::more_keys_than_are_kept_cost_trust",
    ),
    (
        "a stricter policy leaves what is mapped",
        "entitle.h",
        "image->libraries >> (policy->libraries & 3) > 1",
        "0",
        "library-rule::a_stricter_policy_reaches_what_is_mapped",
    ),
    (
        "a file that is not judged is of no rule",
        "library.h",
        "\t\t__sync_fetch_and_or(&image->libraries, 1U << grade->libraries);",
        "\t\t;",
        "library-rule::a_stricter_policy_reaches_what_is_mapped",
    ),
    (
        "a policy may ask for what there is not",
        "apply.h",
        "policy->libraries > BT_LIBRARIES_ANY || ",
        "",
        "handover::the_kernel_side_takes_no_garbage",
    ),
];
