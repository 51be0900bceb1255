# make run: render the examples. make test: the tests. make check: the linters.
# make install: reeldrop as a service of this machine, as root; make install-user: as your own.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Programs, each with the Debian package that has it.
TOOLS := g++:g++ mount:mount findmnt:util-linux mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs strace:strace \
	systemctl:systemd systemd-sysusers:systemd dbus-daemon:dbus nsenter:util-linux \
	syncthing:syncthing rsync:rsync rclone:rclone unison:unison smbd:samba smbclient:smbclient \
	sshd:openssh-server scp:openssh-client sshfs:sshfs fusermount3:fuse3 \
	nextcloudcmd:nextcloud-desktop-cmd ip:iproute2 \
	chromium:chromium chromedriver:chromium-driver exiftool:libimage-exiftool-perl \
	linux.uml:user-mode-linux mount.nfs4:nfs-common exportfs:nfs-kernel-server
NEEDS = $(MAKE) --no-print-directory packages PACKAGES=

# Where the service is. The units say $(APP), too; units, command and all else go below prefix.
APP := /opt/reeldrop
DOCS := docs/operations.md docs/commands.md docs/prompt-files.md docs/sync.md docs/models.md docs/cluster.md \
	docs/languages.md docs/gallery.png docs/comparison.png
MONITORING := docs/monitoring/alerts.yml docs/monitoring/dashboard.json
prefix ?= /usr/local
DESTDIR ?=
lib := $(DESTDIR)$(prefix)/lib
etc := $(DESTDIR)/etc/reeldrop
SYSTEMD_VERSION ?= $(shell systemctl --version 2>/dev/null | sed -n '1s/[^0-9]*\([0-9]*\).*/\1/p')

# Where a person's own service is.
share := $(HOME)/.local/share/reeldrop
user_units := $(HOME)/.config/systemd/user
user_etc := $(HOME)/.config/reeldrop

.PHONY: run test check format clean tools packages python
.PHONY: install uninstall install-user uninstall-user

run: $(INSTALLED)
	mkdir -p inbox/examples
	cp examples/*.txt examples/*.yaml inbox/examples/
	@$(BIN)/reeldrop run --drain; ended=$$?; \
	videos=$$(find results/examples -name '*.mp4' | wc -l); \
	echo "$$videos videos in results/examples, each with a poster (.jpg) and its settings (.yaml)."; \
	echo "To look at them in a browser: xdg-open results/index.html"; \
	echo "To list them: $(BIN)/reeldrop history --limit $$videos"; \
	test $$ended = 0 || echo "Not everything was rendered. What was set aside, and why: $(BIN)/reeldrop history --failed"; \
	exit $$ended

# Four processes for two cores, because many tests wait: for a disk, a clock, a machine that boots.
test: tools $(INSTALLED)
	$(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml constraints.txt | python
	@echo "Installing PyTorch and other libraries into $(VENV): a few GB, once. This takes some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # on all cores; templates can't be compiled
	touch $@

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "reeldrop needs Python 3.11")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(NEEDS)python3-venv

# The environment for a service, in the folder $(1). It is built from a copy, so that nothing is
# left behind here, and under DESTDIR for the place where it will be.
define make_venv
	umask 022 && $(PYTHON) -m venv $(DESTDIR)$(1)
	umask 022 && source=$$(mktemp -d) && trap 'rm -rf "$$source"' EXIT && \
	cp -R pyproject.toml README.md LICENSE daemon "$$source" && \
	$(DESTDIR)$(1)/bin/python -m pip install --disable-pip-version-check --quiet \
		--constraint constraints.txt "$$source"
	test -z "$(DESTDIR)" || grep -rlI "$(DESTDIR)" $(DESTDIR)$(1)/bin $(DESTDIR)$(1)/pyvenv.cfg \
		| xargs sed -i "s|$(DESTDIR)||g"
endef

# A config.yaml in the folder $(1) with its folders in $(2), if there is none.
define make_config
	test -e $(1)/config.yaml || { umask 022 && mkdir -p $(1) && sed \
		's,^\(inbox\|results\|spool\|failed\): ,&$(2)/,' config.yaml >$(1)/config.yaml; }
endef

# Where systemd is new enough, the drop-in that lets it wait longer each time, for the unit $(1).
define add_back_off
	test "$(or $(SYSTEMD_VERSION),0)" -lt 254 || install -D -m 644 -t $(1).d systemd/back-off.conf
endef

install: python
	@test -n "$(DESTDIR)" -o "$$(id -u)" = 0 || \
		{ echo 'as root, please; without it: make install-user' >&2; exit 1; }
	@test -n "$(DESTDIR)" || $(PYTHON) -c 'import sys; base = sys.base_prefix; \
		sys.exit(base.startswith(("/root/", "/home/", "/tmp/")) and f"the service can see nothing in \
	homes, and this Python is in {base}: make install PYTHON=/usr/bin/python3, or another")'
	$(call make_venv,$(APP)/.venv)
	$(call make_config,$(etc),/srv/reeldrop)
	install -D -m 644 -t $(DESTDIR)$(APP) systemd/allow-download.conf systemd/cluster.conf \
		systemd/reeldrop-ray.service CHANGELOG.md
	install -D -m 644 -t $(DESTDIR)$(APP)/docs $(DOCS)
	install -D -m 644 -t $(DESTDIR)$(APP)/docs/monitoring $(MONITORING)
	install -D -m 644 -t $(lib)/systemd/system systemd/reeldrop.service systemd/reeldrop@.service \
		systemd/reeldrop-notify.service
	$(call add_back_off,$(lib)/systemd/system/reeldrop.service)
	$(call add_back_off,$(lib)/systemd/system/reeldrop@.service)
	install -D -m 644 -t $(lib)/sysusers.d systemd/sysusers.d/reeldrop.conf
	install -D -m 644 -t $(lib)/tmpfiles.d systemd/tmpfiles.d/reeldrop.conf
	install -d $(DESTDIR)$(prefix)/bin
	ln -sfn $(APP)/.venv/bin/reeldrop $(DESTDIR)$(prefix)/bin/reeldrop
	test -n "$(DESTDIR)" || systemd-sysusers $(lib)/sysusers.d/reeldrop.conf
	test -n "$(DESTDIR)" || systemd-tmpfiles --create $(lib)/tmpfiles.d/reeldrop.conf
	test -n "$(DESTDIR)" -o -e /srv/reeldrop/inbox/README.txt || install -m 660 -o reeldrop -g reeldrop \
		daemon/reeldrop/inbox.txt /srv/reeldrop/inbox/README.txt
	test -n "$(DESTDIR)" -o ! -d /run/systemd/system || systemctl daemon-reload
	@echo 'next: $(APP)/docs/operations.md, "First start"'

# Prompt files, videos, config and downloaded models stay where they are.
uninstall:
	test -n "$(DESTDIR)" -o ! -d /run/systemd/system -o ! -e $(lib)/systemd/system/reeldrop.service || { \
		systemctl disable reeldrop.service reeldrop@.service reeldrop-notify.service && \
		systemctl stop reeldrop.service 'reeldrop@*.service' reeldrop-notify.service; }
	rm -f $(addprefix $(lib)/systemd/system/,reeldrop.service reeldrop@.service reeldrop-notify.service)
	rm -f $(lib)/systemd/system/reeldrop.service.d/back-off.conf
	rm -f $(lib)/systemd/system/reeldrop@.service.d/back-off.conf
	rmdir $(lib)/systemd/system/reeldrop.service.d $(lib)/systemd/system/reeldrop@.service.d \
		2>/dev/null || true
	rm -f $(lib)/sysusers.d/reeldrop.conf $(lib)/tmpfiles.d/reeldrop.conf
	rm -f $(DESTDIR)$(prefix)/bin/reeldrop
	rm -f $(addprefix $(DESTDIR)$(APP)/,allow-download.conf cluster.conf reeldrop-ray.service \
		CHANGELOG.md)
	rm -f $(addprefix $(DESTDIR)$(APP)/,$(DOCS) $(MONITORING))
	rm -rf $(DESTDIR)$(APP)/.venv
	rmdir $(DESTDIR)$(APP)/docs/monitoring $(DESTDIR)$(APP)/docs $(DESTDIR)$(APP) 2>/dev/null || true
	test -n "$(DESTDIR)" -o ! -d /run/systemd/system || systemctl daemon-reload
	@echo 'left as they are: /srv/reeldrop, $(etc), /var/cache/reeldrop, the user reeldrop'

install-user: DESTDIR =
install-user: python
	$(call make_venv,$(share)/.venv)
	$(call make_config,$(user_etc),$(HOME)/reeldrop)
	mkdir -p $(HOME)/reeldrop/inbox $(HOME)/reeldrop/results $(HOME)/reeldrop/spool
	test -e $(HOME)/reeldrop/inbox/README.txt || \
		install -m 644 daemon/reeldrop/inbox.txt $(HOME)/reeldrop/inbox/README.txt
	install -D -m 644 systemd/reeldrop-user.service $(user_units)/reeldrop.service
	$(call add_back_off,$(user_units)/reeldrop.service)
	install -d $(HOME)/.local/bin
	ln -sfn $(share)/.venv/bin/reeldrop $(HOME)/.local/bin/reeldrop
	systemctl --user daemon-reload || true
	@echo 'next: systemctl --user enable --now reeldrop, and prompt files into ~/reeldrop/inbox'

uninstall-user:
	systemctl --user disable --now reeldrop.service || true
	rm -f $(user_units)/reeldrop.service $(user_units)/reeldrop.service.d/back-off.conf
	rm -f $(HOME)/.local/bin/reeldrop
	rmdir $(user_units)/reeldrop.service.d 2>/dev/null || true
	rm -rf $(share)/.venv
	rmdir $(share) 2>/dev/null || true
	systemctl --user daemon-reload || true
	@echo 'left as they are: $(HOME)/reeldrop, $(user_etc)'

# The tests mount file systems that they make, and boot a systemd of their own.
tools:
	@export PATH="$$PATH:/usr/sbin:/sbin" missing=""; \
	for tool in $(TOOLS); do \
		command -v "$${tool%:*}" >/dev/null || missing="$$missing $${tool#*:}"; \
	done; \
	$(PYTHON) -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("fuse"))' \
		|| missing="$$missing libfuse2"; \
	test -z "$$missing" || $(NEEDS)"$$missing"

packages:
	@test "$$(id -u)" = 0 || { echo "please install, as root: $(PACKAGES)" >&2; exit 1; }
	apt-get update
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(PACKAGES)

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache
