# Every chore is `cargo xtask`; these are its short names.
#   make demo [KERNEL=7.3]      make vm [KERNEL=6.18] [NAME=part_of_a_test]

KERNEL_ARGUMENT = $(if $(KERNEL),--kernel $(KERNEL))

.PHONY: bench demo test vm mutants

bench:
	cargo xtask bench --programs $(KERNEL_ARGUMENT)

demo:
	cargo xtask demo $(KERNEL_ARGUMENT)

test:
	cargo xtask test

vm:
	cargo xtask vm $(KERNEL_ARGUMENT) $(NAME)

mutants:
	cargo xtask mutants
