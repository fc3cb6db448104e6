"""What a kubelet makes of the manifests of deploy/, for containers.kubernetes.

pods.py manifest VARIANT [BORDER-LINES]: what kustomize makes of deploy/kubernetes/VARIANT, by kubectl where it is installed, else (base only) by hand; the lines are added to the
set's border.toml. pods.py job NAME CONTAINER FOLDER: the arguments, one on each line, with which podman runs a container of a CronJob: volumes of files are below FOLDER, claims
are podman's volumes of their name. pods.py mount FOLDER MODE NAME=SOURCE...: files as a kubelet mounts those of a Secret or ConfigMap: behind a link that is swapped, readable by
the pod's group. pods.py probes: the commands of the border's probes, one on each line."""
import glob, os, shutil, subprocess, sys, tempfile
import yaml

USER = 65532
BASE = "deploy/kubernetes/base"


def documents():
    return [document for path in sorted(glob.glob(f"{BASE}/*.yaml")) for document in yaml.safe_load_all(open(path)) if "metadata" in document]


def manifest(variant, lines=""):
    if shutil.which("kubectl"):
        built = subprocess.run(["kubectl", "kustomize", f"deploy/kubernetes/{variant}"], capture_output=True, text=True, timeout=60, check=True)
        made = list(yaml.safe_load_all(built.stdout))
    elif variant == "base":
        kustomization = yaml.safe_load(open(f"{BASE}/kustomization.yaml"))
        image = kustomization["images"][0]
        files = kustomization["configMapGenerator"][0]
        data = {os.path.basename(path): open(f"{BASE}/{path}").read() for path in files["files"]}
        made = documents() + [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": files["name"]}, "data": data}]
        for document in made:
            for container in document["spec"]["template"]["spec"]["containers"] if document["kind"] == "Deployment" else []:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    else:
        sys.exit(3)
    for document in made:
        if document["kind"] == "ConfigMap":
            document["data"]["border.toml"] += lines.replace("\\n", "\n")
    # Podman makes each claim once, and keeps it.
    yaml.safe_dump_all([document for document in made if variant == "base" or document["kind"] != "PersistentVolumeClaim"], sys.stdout)


def job(name, wanted, folder):
    pod = next(document for document in documents() if document["metadata"]["name"] == name)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    container = next(one for one in pod.get("initContainers", []) + pod["containers"] if one["name"] == wanted)
    security = container["securityContext"]
    arguments = ["--user", f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"]
    arguments += ["--read-only"] if security["readOnlyRootFilesystem"] else []
    arguments += [] if security["allowPrivilegeEscalation"] else ["--security-opt", "no-new-privileges"]
    arguments += [word for capability in security["capabilities"]["drop"] for word in ("--cap-drop", capability)]
    arguments += ["--memory", container["resources"]["limits"]["memory"].replace("Mi", "m")]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        source = volume["persistentVolumeClaim"]["claimName"] if "persistentVolumeClaim" in volume else f"{folder}/{mount['name']}"
        arguments += ["--volume", f"{source}:{mount['mountPath']}:{'ro' if mount.get('readOnly') else 'rw'}"]
    print("\n".join(arguments + ["portcullis"] + container["args"]))


def mount(folder, mode, *files):
    os.makedirs(folder, exist_ok=True)
    data = tempfile.mkdtemp(prefix="..", dir=folder)
    os.chmod(data, 0o755)
    before = os.path.join(folder, os.readlink(f"{folder}/..data")) if os.path.islink(f"{folder}/..data") else None
    for file in files:
        name, source = file.split("=", 1)
        shutil.copyfile(source, f"{data}/{name}")
        os.chmod(f"{data}/{name}", int(mode, 8))
        os.chown(f"{data}/{name}", 0, USER)
        if not os.path.islink(f"{folder}/{name}"):
            os.symlink(f"..data/{name}", f"{folder}/{name}")
    os.symlink(os.path.basename(data), f"{folder}/..data_tmp")
    os.rename(f"{folder}/..data_tmp", f"{folder}/..data")
    if before:
        shutil.rmtree(before)


def probes():
    border = next(document for document in documents() if document["kind"] == "Deployment")["spec"]["template"]["spec"]["containers"][0]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        print(" ".join(border[probe]["exec"]["command"]))


{"manifest": manifest, "job": job, "mount": mount, "probes": probes}[sys.argv[1]](*sys.argv[2:])
