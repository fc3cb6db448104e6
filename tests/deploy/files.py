"""The files of deploy/, read and held against the program; see run."""
import glob, os, pathlib, shutil, subprocess, sys, tempfile
import yaml

PROGRAM = os.path.abspath(os.environ["PORTCULLIS_BINARY"])
passed = failed = 0


def check(what, holds, detail=""):
    global passed, failed
    if holds:
        passed += 1
        print(f"ok     deploy: {what}")
    else:
        failed += 1
        print(f"FAILED deploy: {what} {detail}")


def program(*arguments, cwd=None):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=30, cwd=cwd)


def takes(arguments):
    """Whether the command line is one the program knows: what stands before --help is read first."""
    told = program(*arguments, "--help")
    return told.returncode == 0 and "Usage:" in told.stdout, told.stderr


compose = yaml.safe_load(open("deploy/compose.yaml"))
firewall = yaml.safe_load(open("deploy/compose.firewall.yaml"))
for name, service in compose["services"].items():
    check(f"compose {name}: its command", *takes(service["command"]))
    check(f"compose {name}: no privilege, nothing to write to", service["user"] == "65532:65532" and service["read_only"] is True
          and service["cap_drop"] == ["ALL"] and "cap_add" not in service and service["security_opt"] == ["no-new-privileges:true"])
    named = {volume.split(":")[0] for volume in service["volumes"] if not volume.startswith(".")}
    check(f"compose {name}: its volumes are declared", named <= set(compose["volumes"]), named)
border = compose["services"]["portcullis"]
check("compose: its health check", *takes(border["healthcheck"]["test"][2:]))
check("compose: it gets longer to stop than a drain takes", border["stop_grace_period"] == "90s")
check("compose: the firewall's variant adds one capability, and may gain it", firewall["services"]["portcullis"]["cap_add"] == ["NET_ADMIN"]
      and firewall["services"]["portcullis"]["security_opt"] == ["no-new-privileges:false"])

documents = [document for path in sorted(glob.glob("deploy/kubernetes/base/*.yaml")) for document in yaml.safe_load_all(open(path))]
kinds = {(document["kind"], document["metadata"]["name"]): document for document in documents if "metadata" in document}
kustomization = yaml.safe_load(open("deploy/kubernetes/base/kustomization.yaml"))
files = {pathlib.Path(path).name for path in glob.glob("deploy/kubernetes/base/*.yaml")} - {"kustomization.yaml"}
check("kustomize: names every manifest", files == set(kustomization["resources"]), files)
maps = {generated["name"]: generated["files"] for generated in kustomization["configMapGenerator"]}
check("kustomize: the whole set becomes the config map", sorted(maps["portcullis-policy"]) == sorted("policy/" + name for name in os.listdir("deploy/kubernetes/base/policy")))
claims = {name for kind, name in kinds if kind == "PersistentVolumeClaim"}


def pods():
    for (kind, name), document in kinds.items():
        if kind == "Deployment":
            yield name, document["spec"]["template"]["spec"]
        if kind == "CronJob":
            yield name, document["spec"]["jobTemplate"]["spec"]["template"]["spec"]


for name, pod in pods():
    check(f"{name}: an ordinary user", pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 65532
          and pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch" and pod["automountServiceAccountToken"] is False)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for volume in volumes.values():
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        config = volume.get("configMap", {}).get("name")
        check(f"{name}: volume {volume['name']} is there", (claim is None or claim in claims) and (config in (None, "portcullis-cas") or config in maps))
        check(f"{name}: no key that everybody may read", "secret" not in volume or volume["secret"]["defaultMode"] == 0o440)
    for container in pod.get("initContainers", []) + pod["containers"]:
        what = f"{name}/{container['name']}"
        check(f"{what}: its command", *takes(container["args"]))
        security = container["securityContext"]
        check(f"{what}: nothing to gain, nothing to write to", security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True
              and security["capabilities"] == {"drop": ["ALL"]})
        mounts = [mount["name"] for mount in container["volumeMounts"]]
        check(f"{what}: mounts what the pod has", set(mounts) <= set(volumes) and len(mounts) == len(set(mounts)))
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            if probe in container:
                command = container[probe]["exec"]["command"]
                check(f"{what}: its {probe}", command[0] == "/usr/bin/portcullis" and takes(command[1:])[0])
deployment = kinds["Deployment", "portcullis"]["spec"]
check("one border, and never two at once", deployment["replicas"] == 1 and deployment["strategy"]["type"] == "Recreate")
check("it gets longer to stop than a drain takes", deployment["template"]["spec"]["terminationGracePeriodSeconds"] > 60 + 30)

# What the jobs do, done: the same arguments, the mounts being folders here.
with tempfile.TemporaryDirectory() as work:
    place = {mount: os.path.join(work, mount.strip("/").replace("/", "-")) for mount in ("/etc/portcullis", "/certs", "/new", "/cas")}
    for folder in place.values():
        os.makedirs(folder)

    def here(text):
        for mount, folder in place.items():
            text = text.replace(mount + "/", folder + "/") if mount + "/" in text else folder if text == mount else text
        return text

    for path in glob.glob("deploy/kubernetes/base/policy/*.toml"):
        text = open(path).read().replace('"/certs/', f'"{place["/certs"]}/')
        open(os.path.join(place["/etc/portcullis"], os.path.basename(path)), "w").write(text)
    lab = os.path.join(work, "lab")
    made = program("certs", "init", lab, "--name", "sbc.example.com")
    check("a laboratory's certificates are made", made.returncode == 0, made.stderr)
    shutil.copy(os.path.join(lab, "sbc.example.com.pem"), os.path.join(place["/new"], "tls.crt"))
    shutil.copy(os.path.join(lab, "sbc.example.com.key"), os.path.join(place["/new"], "tls.key"))
    for ca in ("carrier-ca.pem", "um-ca.pem"):
        shutil.copy(os.path.join(lab, "ca.pem"), os.path.join(place["/cas"], ca))
    rotate = kinds["CronJob", "portcullis-certs-rotate"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    status = kinds["CronJob", "portcullis-certs-status"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    steps = rotate["initContainers"] + rotate["containers"] + status["containers"]
    for turn in ("the first time", "again"):
        for container in steps:
            told = program(*[here(argument) for argument in container["args"]])
            check(f"{container['name']} {turn}", told.returncode == 0, f"{told.returncode}: {told.stdout}{told.stderr}")
    checked = program("check", "--offline", place["/etc/portcullis"])
    # The container's own folders are not on this machine.
    missing = [line for line in (checked.stdout + checked.stderr).splitlines() if "not there" in line and not line.startswith(("warning: /var/lib/portcullis/", "warning: /run/portcullis/"))]
    check("the example set loads with them", checked.returncode == 0 and not missing, checked.stdout + checked.stderr)
    # In ./new beside the compose file they have the set's names.
    for name, source in {"sbc.pem": "sbc.example.com.pem", "sbc.key": "sbc.example.com.key", "carrier-ca.pem": "ca.pem", "um-ca.pem": "ca.pem"}.items():
        shutil.copy(os.path.join(lab, source), os.path.join(place["/new"], name))
    for name in ("tls.crt", "tls.key"):
        os.remove(os.path.join(place["/new"], name))
    for step in ("stage", "activate"):
        told = program(*[here(argument) for argument in compose["services"][step]["command"]])
        check(f"compose {step}: nothing is new, and nothing is said", told.returncode == 0 and not told.stdout, told.stdout + told.stderr)

if shutil.which("kubectl"):
    for variant in ("base", "firewall", "monitoring"):
        built = subprocess.run(["kubectl", "kustomize", f"deploy/kubernetes/{variant}"], capture_output=True, text=True, timeout=60)
        check(f"kustomize builds {variant}", built.returncode == 0, built.stderr)
        if built.returncode:
            continue
        made = {document["kind"]: document for document in yaml.safe_load_all(built.stdout)}
        container = made["Deployment"]["spec"]["template"]["spec"]["containers"][0]
        check(f"{variant}: the image is the registry's", container["image"].startswith("registry.example.com/portcullis:0.1.0"))
        added = container["securityContext"]["capabilities"].get("add", [])
        check(f"{variant}: its capabilities", added == (["NET_ADMIN"] if variant == "firewall" else []))
        check(f"{variant}: Prometheus finds the door", variant != "monitoring" or
              made["PodMonitor"]["spec"]["podMetricsEndpoints"][0]["port"] == container["ports"][0]["name"])
else:
    print("       deploy: no kubectl here: what kustomize makes of the manifests is not looked at")
print(f"deploy: {passed} passed, {failed} failed")
sys.exit(failed > 0)
