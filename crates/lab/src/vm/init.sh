#!/bin/sh
# The first process of a lab's virtual machine. The first serial port is a console for people; on
# the second a request is a line of two words in base64 (script, standard input), and its answer a
# line too: output in base64, exit code.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in failover net_failover virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_net; do
    insmod /modules/$module.ko
done
for word in $(cat /proc/cmdline); do
    case $word in lab.name=*) hostname "${word#lab.name=}" ;; esac
done
ip link set lo up
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1
echo ready >&3
while read -r script input <&3; do
    echo "$script" | base64 -d >/tmp/script
    echo "$input" | base64 -d >/tmp/input
    sh /tmp/script </tmp/input >/tmp/output 2>&1
    code=$?
    printf '%s %d\n' "$(base64 -w 0 </tmp/output)" $code >&3
done &
while true; do setsid sh -c 'exec sh </dev/ttyS0 >/dev/ttyS0 2>&1'; done
