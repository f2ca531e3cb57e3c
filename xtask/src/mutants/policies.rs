//! The rules about policies: what they refuse, how they follow each other, and
//! what time takes away.

use super::Rule;

pub const RULES: &[Rule] = &[
    (
        "a refused digest keeps its loaders",
        "entitle.h",
        "\tif (rule(id, BT_RULE_DIGEST, 0, digest->bytes))\n\t\treturn BT_REASON_REVOKED;\n\tleast",
        "\tleast",
        "change::a_refused_digest_ends_trust",
    ),
    (
        "a refused name keeps its loaders",
        "entitle.h",
        "\tif (least && *least == BT_VERSION_REFUSED)\n\t\treturn BT_REASON_REVOKED;\n\tif (least && grant->version < *least)",
        "\tif (least && *least != BT_VERSION_REFUSED && grant->version < *least)",
        "change::a_refused_name_ends_trust",
    ),
    (
        "no version is too old for the policy",
        "entitle.h",
        "\tif (least && grant->version < *least)",
        "\tif (0)",
        "change::a_higher_minimum_ends_trust",
    ),
    (
        "a refused key keeps its loaders",
        "entitle.h",
        "\tif (key->refused)\n\t\treturn BT_REASON_REVOKED;\n\treason = judge_rules(",
        "\treason = judge_rules(",
        "change::a_refused_key_ends_trust",
    ),
    (
        "a refused key of nobody's is not known",
        "verdict.h",
        "\tif (known && scratch->key.refused)",
        "\tif (0)",
        "change::a_refused_key_ends_trust",
    ),
    (
        "a key that is gone keeps its loaders",
        "entitle.h",
        "\tif (!key)\n\t\treturn BT_REASON_UNKNOWN_KEY;\n\tif (key->orders)",
        "\tif (!key)\n\t\treturn BT_REASON_NONE;\n\tif (key->orders)",
        "change::a_key_that_goes_ends_trust",
    ),
    (
        "a kept verdict outlives its policy",
        "verdict.h",
        "guard && *(volatile u64 *)&kept->generation == generation_of(guard) &&",
        "guard && *(volatile u64 *)&kept->generation &&",
        "change::keys_follow_each_other_without_a_refusal",
    ),
    (
        "rights outlive their policy",
        "entitle.h",
        "\treturn *(volatile u64 *)&image->generation == generation &&\n",
        "\treturn *(volatile u64 *)&image->generation &&\n",
        "change::a_lower_ceiling_takes_the_right_alone",
    ),
    (
        "the policy has no ceiling",
        "entitle.h",
        "\tintersect(rights, &policy->ceiling);\n",
        "",
        "change::a_lower_ceiling_takes_the_right_alone",
    ),
    (
        "own code outlives the right to it",
        "entitle.h",
        "\t\tif (reason == BT_REASON_NONE && image->own_code &&",
        "\t\tif (0 && image->own_code &&",
        "change::own_code_that_was_used_and_is_taken_away_ends_trust",
    ),
    (
        "trust that a policy took comes back",
        "entitle.h",
        "\t\tlose_trust(image, reason);\n",
        "",
        "change::a_refused_name_ends_trust",
    ),
    (
        "audit mode takes trust",
        "entitle.h",
        "\tif (!audit && image->reason == BT_REASON_NONE &&",
        "\tif (image->reason == BT_REASON_NONE &&",
        "audited::in_audit_mode_no_policy_takes_trust",
    ),
    (
        "everybody changes the policy",
        "apply.h",
        "\tif (!may_change_policy())",
        "\tif (0)",
        "handover::it_takes_a_capability_of_the_initial_user_namespace",
    ),
    (
        "the root of a user namespace changes the policy",
        "apply.h",
        "\treturn !BPF_CORE_READ(task, cred, user_ns, level) &&\n\t       (",
        "\treturn (",
        "handover::it_takes_a_capability_of_the_initial_user_namespace",
    ),
    (
        "the policy before stays in the tables",
        "apply.h",
        "\tdrop_others(guard->generation);\n\treturn -EALREADY;",
        "\treturn -EALREADY;",
        "handover::policies_leave_nothing_behind",
    ),
];
