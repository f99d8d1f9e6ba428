#!/bin/sh
# tools/setup.sh in front of a pretended dpkg and apt: as root, with sudo, and with neither.
cd "$(dirname "$0")/../.." || exit 1
setup=$PWD/tools/setup.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# A machine: what is installed (all but MISSING), who we are (ID), and whether there is a sudo.
machine() { # id missing sudo?
    rm -rf "$work/bin" "$work/calls"
    mkdir "$work/bin"
    : >"$work/calls"
    for tool in sh sed sort awk cat env mktemp rm tail; do
        ln -s "$(command -v $tool)" "$work/bin/$tool"
    done
    printf '#!/bin/sh\necho %s\n' "$1" >"$work/bin/id"
    cat >"$work/bin/dpkg-query" <<FAKE
#!/bin/sh
shift 3
for name; do
    [ "\$name" = "$2" ] || echo "install ok installed \$name"
done
FAKE
    printf '#!/bin/sh\necho "apt-get $*" >>%s/calls\n' "$work" >"$work/bin/apt-get"
    printf '#!/bin/sh\necho "sudo" >>%s/calls\nexec "$@"\n' "$work" >"$work/bin/sudo"
    [ "$3" = sudo ] || rm "$work/bin/sudo"
    chmod +x "$work"/bin/id "$work"/bin/dpkg-query "$work"/bin/apt-get
    [ ! -e "$work/bin/sudo" ] || chmod +x "$work/bin/sudo"
}
expect() { # name status words-in-output words-in-calls setup-arguments...
    name=$1 status=$2 words=$3 calls=$4
    shift 4
    PATH=$work/bin sh "$setup" "$@" >"$work/output" 2>&1
    got=$?
    if [ $got = "$status" ] && grep -qe "$words" "$work/output" &&
        { [ -z "$calls" ] || grep -qe "$calls" "$work/calls"; }; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $name: status $got"
        cat "$work/output" "$work/calls"
    fi
}
silent() { # name setup-arguments...
    name=$1
    shift
    out=$(PATH=$work/bin sh "$setup" "$@" 2>&1) && [ -z "$out" ] && [ ! -s "$work/calls" ] &&
        passed=$((passed + 1)) && return
    failed=$((failed + 1))
    echo "FAILED $name: $out"
}

machine 0 none no
silent "all is there" build test demo
machine 0 awscli no
silent "another group's package is not asked for" build
expect "root installs by name" 0 'awscli: S3 client under test' \
    'install --no-install-recommends awscli$' build test
machine 0 gcc no
expect "check only names" 1 'gcc: the C11 compiler' '' --check build
[ ! -s "$work/calls" ] && passed=$((passed + 1)) || failed=$((failed + 1))
machine 1000 gcc sudo
expect "others go through sudo" 0 'installing them' '^sudo$' build
machine 1000 gcc no
expect "neither root nor sudo" 1 'as root run: apt-get install gcc' '' build
machine 0 gcc no
expect "an unknown group" 2 'usage:' '' kitchen
printf '#!/bin/sh\ncase "$*" in *install*) echo no such package; exit 100 ;; esac\n' \
    >"$work/bin/apt-get"
expect "a failed installation fails" 1 'apt-get install failed: gcc' '' build

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
