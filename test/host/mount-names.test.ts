import test from "ava";
import { otherNames } from "../../lib/host/mount-names.ts";

const mountinfo = `
20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
21 20 0:22 / /proc rw - proc proc rw
22 20 8:2 / /data rw - ext4 /dev/sda2 rw
23 20 8:2 /homes /home rw - ext4 /dev/sda2 rw
24 20 8:2 /homes/me/work/tools /opt/tools ro - ext4 /dev/sda2 rw
25 20 8:1 /srv/with\\040space /mnt/a\\040b rw - ext4 /dev/sda1 rw
26 20 8:3 / /home/me/other rw - ext4 /dev/sdb1 rw
27 20 8:2 /elsewhere /home/me/late rw - ext4 /dev/sda2 rw
`;

test("A folder has the names of all the places where it, or a part of it, is mounted", (t) => {
  t.deepEqual(otherNames(mountinfo, "/home/me/work"), ["/data/homes/me/work", "/opt/tools"]);
  t.deepEqual(otherNames(mountinfo, "/data/homes/me/work/tools/x"), ["/home/me/work/tools/x", "/opt/tools/x"]);
  t.deepEqual(otherNames(mountinfo, "/mnt/a b/c"), ["/srv/with space/c"]);
  t.deepEqual(otherNames(mountinfo, "/srv/with space"), ["/mnt/a b"]);
  // Of another file system, mounted in between.
  t.deepEqual(otherNames(mountinfo, "/home/me/other/x"), []);
  t.deepEqual(otherNames(mountinfo, "/home/me/late/x"), ["/data/elsewhere/x"]);
  t.deepEqual(otherNames("", "/x"), []);
});
