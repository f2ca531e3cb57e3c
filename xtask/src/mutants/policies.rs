//! The rules about policies: what they refuse, how they follow each other, and
//! what time takes away.

use super::Rule;

pub const RULES: &[Rule] = &[
    (
        "a refused digest keeps its loaders",
        "entitle.h",
        "key->refused || rule(&id, BT_RULE_DIGEST, 0, image->digest.bytes)",
        "key->refused",
        "change::a_refused_digest_takes_trust_while_it_runs",
    ),
    (
        "a refused name keeps its loaders",
        "entitle.h",
        "\tif (least && *least == BT_VERSION_REFUSED)\n\t\treturn BT_REASON_REVOKED;\n\tif (least && image->grant.version < *least)",
        "\tif (least && *least != BT_VERSION_REFUSED && image->grant.version < *least)",
        "change::a_refused_name_takes_trust_while_it_runs",
    ),
    (
        "no version is too old for the policy",
        "entitle.h",
        "\tif (least && image->grant.version < *least)",
        "\tif (0)",
        "change::a_higher_minimum_version_takes_trust_while_it_runs",
    ),
    (
        "a refused key keeps its loaders",
        "entitle.h",
        "\tif (key->refused || rule(",
        "\tif (rule(",
        "change::a_refused_key_takes_trust_while_it_runs",
    ),
    (
        "a refused key of nobody's is not known",
        "verdict.h",
        "\tif (known && scratch->key.refused)",
        "\tif (0)",
        "change::a_refused_key_takes_trust_while_it_runs",
    ),
    (
        "a key that is gone keeps its loaders",
        "entitle.h",
        "\tif (!key)\n\t\treturn BT_REASON_UNKNOWN_KEY;\n",
        "\tif (!key)\n\t\treturn BT_REASON_NONE;\n",
        "change::a_key_that_is_withdrawn_takes_trust_while_it_runs",
    ),
    (
        "a kept verdict outlives its policy",
        "verdict.h",
        "guard && *(volatile u64 *)&kept->generation == generation_of(guard) &&",
        "guard && *(volatile u64 *)&kept->generation &&",
        "change::a_key_is_rotated_without_a_gap",
    ),
    (
        "rights outlive their policy",
        "entitle.h",
        "\t\tif (*(volatile u64 *)&image->generation == generation) {",
        "\t\tif (*(volatile u64 *)&image->generation) {",
        "change::a_lower_ceiling_reaches_who_runs",
    ),
    (
        "the policy has no ceiling",
        "entitle.h",
        "\tintersect(rights, &policy->ceiling);\n",
        "",
        "change::a_lower_ceiling_reaches_who_runs",
    ),
    (
        "own code outlives the right to it",
        "entitle.h",
        "\t\tif (reason == BT_REASON_NONE && image->own_code &&",
        "\t\tif (0 && image->own_code &&",
        "change::own_code_that_is_taken_back_costs_trust",
    ),
    (
        "trust that a policy took comes back",
        "entitle.h",
        "\t\tlose_trust(image, reason);\n",
        "",
        "change::a_refused_name_takes_trust_while_it_runs",
    ),
    (
        "audit mode takes trust",
        "entitle.h",
        "\tif (!audit && image->reason == BT_REASON_NONE &&",
        "\tif (image->reason == BT_REASON_NONE &&",
        "change-audit::in_audit_mode_no_policy_takes_trust",
    ),
    (
        "everybody changes the policy",
        "apply.h",
        "\tif (!may_change_policy())",
        "\tif (0)",
        "change::only_an_administrator_brings_a_policy",
    ),
    (
        "the root of a user namespace changes the policy",
        "apply.h",
        "\treturn !BPF_CORE_READ(task, cred, user_ns, level) &&\n\t       (",
        "\treturn (",
        "change::only_an_administrator_brings_a_policy",
    ),
    (
        "the policy before stays in the tables",
        "apply.h",
        "\tdrop_others(guard->generation);\n\treturn -EALREADY;",
        "\treturn -EALREADY;",
        "change::many_changes_leave_nothing_behind",
    ),
];
