#!/usr/bin/env bash
# The steps of docker/Dockerfile, run without a container engine, and what comes out of them tried as the image's user.
#
#   sudo docker/verify.sh        # on the Debian or Ubuntu of this machine, from its mirror
#   sudo docker/verify.sh --suite noble --mirror http://archive.ubuntu.com/ubuntu --components main,universe \
#       --keyring /usr/share/keyrings/ubuntu-archive-keyring.gpg       # on what NVIDIA's image is built on
#
# Needs root, debootstrap, the package mirror and what pip is set up to ask (its settings and the folders that they
# name are lent to the steps), and in TMPDIR 4 GB, or 9 GB where pip gets PyTorch with CUDA. Takes minutes.
#
# Each stage begins with a clean root of debootstrap in place of NVIDIA's image: that the image can be had, its CUDA
# libraries, the layers and a GPU are not tried. All mounts are in a namespace of their own, so they go with this
# script however it ends; its folder goes too, unless it ends by SIGKILL.
set -euo pipefail
shopt -s inherit_errexit

main() {
    # shellcheck disable=SC1091
    . /etc/os-release
    local suite=$VERSION_CODENAME mirror='' keyring='' components=main
    [ "$ID" != ubuntu ] || components=main,universe
    while [ $# -gt 0 ]; do
        case $1 in
            --suite) suite=${2:?--suite needs a name} ;;
            --mirror) mirror=${2:?--mirror needs an address} ;;
            --keyring) keyring=${2:?--keyring needs a file} ;;
            --components) components=${2:?--components needs names} ;;
            *) fail "unknown option $1; the first lines of $0 tell what there is" ;;
        esac
        shift 2
    done
    [ "$(id -u)" = 0 ] || fail "only root can make root folders and mounts; run it with sudo"
    local tool
    for tool in debootstrap unshare ip; do
        command -v "$tool" >/dev/null || fail "$tool is missing; apt-get install debootstrap util-linux iproute2"
    done
    if [ -z "$mirror" ]; then
        # shellcheck disable=SC2016  # apt's own variables
        mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' \
            | awk -v suite="$suite" '$1 == suite && !found++ { print $2 }')
        [ -n "$mirror" ] || fail "this machine's apt knows no mirror of $suite; give --mirror"
    fi

    folder=$(mktemp -d "${TMPDIR:-/tmp}/kineflow-image.XXXXXX")
    trap 'rm -rf --one-file-system "$folder"' EXIT
    export folder suite mirror keyring components
    # whoever dies, those below die with it
    setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
        "$BASH" "$0" "$INSIDE" &
    trap 'kill -KILL $!' INT TERM
    wait $!
}

fail() {
    echo "docker/verify.sh: $*" >&2
    exit 1
}

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

# What follows runs in the namespace.

build_and_try() {
    context=$(cd "$(dirname "$0")/.." && pwd)
    root='' workdir=/ user='' environment=() health='' default=''
    make_base
    local verb rest
    while read -r verb rest; do
        case $verb in
            ARG) ;; # the base, which is ours
            FROM) begin_stage "$rest" ;;
            WORKDIR) workdir=$rest && mkdir -p "$root$workdir" ;;
            COPY) copy "$rest" ;;
            RUN) run_step "$rest" ;;
            ENV) set_environment "$rest" ;;
            USER) user=$rest ;;
            HEALTHCHECK) health=${rest#*CMD } ;;
            CMD) default=$rest ;;
            *) fail "cannot carry out $verb of the Dockerfile; teach it here" ;;
        esac
    done < <(instructions)
    [ -n "$user" ] || fail "the Dockerfile names no user"
    try_as_user
    say "done; the last stage takes $(du --summarize --one-file-system --human-readable "$root" | cut -f1)"
}

# One instruction a line, without comments.
instructions() {
    sed '/^[[:space:]]*#/d' "$context/docker/Dockerfile" \
        | awk '{ if (sub(/\\$/, "")) printf "%s", $0; else print }' | sed '/^[[:space:]]*$/d'
}

make_base() {
    say "debootstrap $suite from $mirror"
    local scripts=/usr/share/debootstrap/scripts
    local options=(--variant=minbase --force-check-gpg "--components=$components")
    [ -z "$keyring" ] || options+=("--keyring=$keyring")
    local arguments=("$suite" "$folder/base" "$mirror")
    # an Ubuntu newer than debootstrap: all of Ubuntu's scripts are this one
    [ -e "$scripts/$suite" ] || arguments+=("$scripts/gutsy")
    debootstrap "${options[@]}" "${arguments[@]}" >"$folder/debootstrap.log" 2>&1 || {
        tail -n 20 "$folder/debootstrap.log" >&2
        fail "debootstrap failed; is $suite on $mirror, and does --keyring hold its key?"
    }
}

begin_stage() { # "IMAGE [AS NAME]"
    local name=final
    [[ $1 != *' AS '* ]] || name=${1##* AS }
    say "stage $name"
    root=$folder/$name workdir=/ user='' environment=()
    cp -a "$folder/base" "$root"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
}

copy() { # "[--from=STAGE] SOURCE... TARGET"
    local words source target
    read -ra words <<<"$1"
    target=${words[-1]}
    [[ $target == /* ]] || target=$workdir/$target
    if [[ ${words[0]} == --from=* ]]; then
        # links: nothing writes to either after this
        cp --archive --link "$folder/${words[0]#--from=}${words[1]}" "$root$target"
        return
    fi
    for source in "${words[@]:0:${#words[@]}-1}"; do
        grep -qx "!$source" "$context/.dockerignore" || fail ".dockerignore keeps $source from the builder"
        if [ -d "$context/$source" ]; then
            mkdir -p "$root$target"
            tar -C "$context/$source" -c --exclude-from=<(sed -n 's,^\*\*/,,p' "$context/.dockerignore") . \
                | tar -C "$root$target" -x --no-same-owner
        else
            cp "$context/$source" "$root$target"
        fi
    done
}

set_environment() { # "NAME=VALUE..."
    local words
    read -ra words <<<"$1"
    # shellcheck disable=SC2016  # the one variable that the Dockerfile may use
    environment+=("${words[@]//'$PATH'/$SYSTEM_PATH}")
}

run_step() {
    say "$1"
    local settings=()
    [[ $1 != *pip* ]] || lend_pip_settings
    settings+=("HOME=/root" "PATH=$SYSTEM_PATH" DEBIAN_FRONTEND=noninteractive)
    local name
    for name in http_proxy https_proxy no_proxy; do
        [ -z "${!name:-}" ] || settings+=("$name=${!name}")
    done
    chroot "$root" env --chdir="$workdir" -i "${settings[@]}" "${environment[@]}" /bin/sh -c "$1" \
        >"$folder/step.log" 2>&1 </dev/null || {
        tail -n 40 "$folder/step.log" >&2
        fail "this step of the Dockerfile fails: $1"
    }
    tail -n 1 "$folder/step.log" | cut -c 1-200
}

# How this machine's pip is set up, as variables in `settings`; the folders that it names at the same places in the
# root, and the files (a certificate, constraints) as copies.
lend_pip_settings() {
    local key value word path words
    while IFS='=' read -r key value; do
        key=$(tr 'a-z-' 'A-Z_' <<<"PIP_${key##*.}")
        [[ " ${settings[*]-}" != *" $key="* ]] || continue # the environment comes first, and wins
        words=()
        for word in ${value//\'/}; do
            path=${word#file://}
            # an index keeps its files beside its pages
            [ "$path" = "$word" ] || path=$(dirname "$path")
            if [[ $path == /* && -d $path ]]; then
                mkdir -p "$root$path"
                mount --bind -o ro "$path" "$root$path"
            elif [[ $path == /* && -f $path ]]; then
                mkdir -p "$root/pip-settings"
                cp "$path" "$root/pip-settings/$key"
                word=/pip-settings/$key
            fi
            words+=("$word")
        done
        settings+=("$key=${words[*]-}")
    done < <(python3 -m pip config list 2>/dev/null || true)
}

# As `docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --network none` does.
try_as_user() {
    say "what comes out, as user $user, with a read-only root, no capabilities and no network"
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t tmpfs -o "uid=${user%:*},gid=${user#*:}" tmpfs "$root$workdir"
    # shellcheck disable=SC2016  # the arguments of the inner shell
    unshare --net "$BASH" -c 'ip link set lo up && exec "$@"' - \
        chroot "$root" setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --no-new-privs \
        --inh-caps=-all --bounding-set=-all \
        env --chdir="$workdir" -i HOME=/tmp "PATH=$SYSTEM_PATH" "${environment[@]}" \
        bash -s -- "$health" "$default" "$user" \
        < <(declare -p ask_pages && declare -f checks && echo 'set -euo pipefail; checks "$@"')
}

# Runs in the image.
checks() { # HEALTHCHECK CMD USER
    local run_json='import json, subprocess, sys; sys.exit(subprocess.call(json.loads(sys.argv[1])))' tool
    [ "$(id -u):$(id -g)" = "$3" ] && [ "$(id -u)" != 0 ]
    echo "ok  the user is $(id -u), not root"
    for tool in gcc g++ cc c++ clang ld as make nvcc pip; do
        ! command -v "$tool" || { echo "$tool is in the image" >&2 && exit 1; }
    done
    echo "ok  no compiler, no linker, no pip"
    for tool in / /opt/venv /etc /home/*; do
        ! (: >"$tool/written") 2>/dev/null || { echo "$tool can be written to" >&2 && exit 1; }
    done
    echo "ok  the root is read-only"
    python -c "$run_json" "$1"
    echo "ok  HEALTHCHECK"
    python -c "$run_json" "$2" >/dev/null
    i3d_train --help >/dev/null
    echo "ok  CMD, and i3d_train"
    preprocess sample sample --videos-per-class 1 --val-per-class 1 >/dev/null
    preprocess download sample/list.csv --source-dir sample/videos --out clips >/dev/null
    preprocess flow clips --out shards --short-side 64 --cpus 1 >/dev/null
    preprocess verify shards
    echo "ok  sample, download, flow in a worker under Ray, verify"
    (umask 077 && python -c 'import secrets; print(secrets.token_urlsafe(32))' >token)
    preprocess serve . --host 0.0.0.0 --port 8765 --token-file token &
    python -c "$ask_pages" "$(cat token)"
    kill %1 && wait %1
    echo "ok  serve, which answers those who know its token"
}

ask_pages='
import sys, time
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

pages, deadline = "http://127.0.0.1:8765", time.monotonic() + 60
while True:
    try:
        urlopen(f"{pages}/login", timeout=10)
        break
    except URLError as error:
        if time.monotonic() > deadline or isinstance(error, HTTPError):
            raise
        time.sleep(0.2)
urlopen(Request(f"{pages}/api/v1/runs", headers={"Authorization": f"Bearer {sys.argv[1]}"}), timeout=10)
try:
    urlopen(f"{pages}/api/v1/runs", timeout=10)
    sys.exit("the runs are shown to those who do not know the token")
except HTTPError as error:
    sys.exit(error.code != 401)
'

INSIDE=--inside-the-namespace
SYSTEM_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
if [ "${1:-}" = "$INSIDE" ]; then build_and_try; else main "$@"; fi
