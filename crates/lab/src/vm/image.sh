#!/bin/sh
# Makes what a guest boots: Debian's cloud kernel, unpacked from its package and not installed,
# and an initramfs of busybox, a few programs and the virtio drivers. Says where the latter is.
# Usage: image.sh DIR INIT DHCP
set -eu
dir=$1 init=$2 dhcp=$3
# Made anew when what goes into it is another.
initramfs=$dir/initramfs-$(cat "$0" "$init" "$dhcp" | cksum | cut -d ' ' -f 1)
echo "$initramfs"
if [ -e "$initramfs" ] && [ -e "$dir/vmlinuz" ]; then exit; fi
mkdir -p "$dir"
work=$(mktemp -d "$dir/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

if [ ! -e "$dir/vmlinuz" ]; then
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -1)
    apt-get -q download "$package" >/dev/null
    dpkg -x ./*.deb kernel
    rm -rf "$dir/modules"
    mkdir "$dir/modules"
    for module in failover net_failover virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_net; do
        find kernel -name "$module.ko" -exec cp {} "$dir/modules/" \;
    done
    mv kernel/boot/vmlinuz-* "$dir/vmlinuz"
fi

# A file and, for a program, the libraries that it asks for, at the same place below the root.
copy() {
    for file in "$1" $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
        mkdir -p "root$(dirname "$file")"
        cp -L "$file" "root$file"
    done
}
mkdir -p root/usr/bin root/usr/sbin root/usr/lib root/usr/lib64 root/proc root/sys root/dev root/tmp root/run root/etc
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "root/$folder"; done
copy "$(command -v busybox)"
for program in ip ping sysctl ethtool; do copy "$(command -v $program)"; done
for program in sh cat env sleep stty base64 mount insmod udhcpc nc grep sort kill ps mkdir rm hostname setsid true poweroff; do
    [ -e "root/usr/bin/$program" ] || ln -s "$(command -v busybox)" "root/usr/bin/$program"
done
cp -r "$dir/modules" root/modules
cp "$init" root/init
cp "$dhcp" root/etc/udhcpc.sh
chmod +x root/init root/etc/udhcpc.sh
(cd root && find . | busybox cpio -o -H newc 2>/dev/null) >initramfs
mv initramfs "$initramfs"
