//! The rules about programs whose signature the kernel verified.

use super::Rule;

pub const RULES: &[Rule] = &[
    (
        "unsigned programs are loaded",
        "signed.h",
        "BT_REQUIRE_SIGNED_PROGRAMS))\n\t\treturn 0;",
        "BT_REQUIRE_SIGNED_PROGRAMS) || 1)\n\t\treturn 0;",
        "signedprograms::unsigned_ones_are_refused",
    ),
    (
        "a keyring without a signature is enough",
        "signed.h",
        "\tif (!BPF_CORE_READ(offered, signature))\n\t\treturn;",
        "",
        "signedprograms::unsigned_ones_are_refused",
    ),
    (
        "a keyring of one's own verifies",
        "signed.h",
        "\tif (signing->keyring < 0)\n\t\treturn 0;",
        "\tif (signing->keyring < 0) {\n\t\tstruct bt_image *image = standing_of_current().image;\n\n\t\treturn image ? *(u64 *)image->key : 0;\n\t}",
        "signedprograms::a_keyring_of_ones_own_does_not_count",
    ),
    (
        "what a signed program loads is unsigned",
        "signed.h",
        "\t\tsigner = signing->runner;",
        "\t\tsigner = 0;",
        "signedprograms::what_a_signed_program_loads_counts_as_signed",
    ),
    (
        "which program runs is not looked at",
        "hooks_bpf.h",
        "\t\tsigning->runner = signer_of((u64)prog->aux);",
        "\t\tsigning->runner = 0;",
        "signedprograms::what_a_signed_program_loads_counts_as_signed",
    ),
    (
        "who signed a program does not limit it",
        "signed.h",
        "signing->signer = 0;\n\tdecision->reason = admit_program(standing->image, signer, &standing->rights);",
        "signing->signer = 0;\n\tdecision->reason = signer ? BT_REASON_NONE : BT_REASON_UNSIGNED_PROGRAM;",
        "signedprograms::who_signed_it_limits_it",
    ),
    (
        "who signed a program does not limit what it is attached to",
        "hooks_bpf.h",
        "\theed_signer(&decision, &standing, command, argument(ctx, 1));\n",
        "",
        "signedprograms::who_signed_it_limits_what_it_is_attached_to",
    ),
    (
        "a refused key's programs run",
        "signed.h",
        "admit_program(standing->image, signer, &rights);",
        "signer ? BT_REASON_NONE : BT_REASON_UNSIGNED_PROGRAM;",
        "signedprograms::a_key_that_is_refused_later_runs_nothing",
    ),
    (
        "unsigned programs of the same owner are reached",
        "object.h",
        "\tif (standing->required & BT_REQUIRE_SIGNED_PROGRAMS)",
        "\tif (0)",
        "signedprograms::unsigned_ones_of_the_same_owner_are_out_of_reach",
    ),
    (
        "unsigned programs of the same owner are inherited",
        "exec.h",
        "(image->required & BT_REQUIRE_SIGNED_PROGRAMS)",
        "0",
        "signedprograms::unsigned_ones_of_the_same_owner_are_out_of_reach",
    ),
    (
        "who has an unsigned program keeps trust",
        "entitle.h",
        "image->unsigned_programs &&",
        "0 &&",
        "signedprograms::a_policy_that_requires_it_takes_trust_from_who_has_others",
    ),
    (
        "an unsigned program is not remembered",
        "object.h",
        "\tstanding->image->unsigned_programs = 1;",
        "",
        "signedprograms::a_policy_that_requires_it_takes_trust_from_who_has_others",
    ),
];
