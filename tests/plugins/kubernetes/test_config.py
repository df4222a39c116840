"""Finding a cluster: which of the places counts, what files say together, and words for what cannot be used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daemun import SettingsError
from daemun_kubernetes import ClusterSettings
from daemun_kubernetes.client import config
from daemun_kubernetes.client.config import Target, find_target
from daemun_kubernetes.client.connections import proxy_of

from .clusters import kubeconfig

SECRET = "s3cr3t-t0k3n"


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else yaml.safe_dump(value))
    return path


def find(folder: Path, environment: dict[str, str] | None = None, **settings: Any) -> Target:
    return find_target(ClusterSettings(**settings), folder, {"HOME": str(folder / "home"), **(environment or {})})


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of a Pod whose ServiceAccount's files are there."""
    folder = tmp_path / "serviceaccount"
    for name, text in (("token", SECRET), ("ca.crt", "PEM"), ("namespace", "shop\n")):
        write(folder / name, text)
    monkeypatch.setattr(config, "SERVICE_ACCOUNT", folder)
    return {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def test_a_pod_knows_its_cluster(tmp_path: Path, pod: dict[str, str]) -> None:
    target = find(tmp_path, pod)
    assert target.cluster.server == "https://10.0.0.1:443"
    assert target.cluster.certificate_authority.endswith("/ca.crt")
    assert target.user.token_file.endswith("/token")
    assert target.namespace == "shop"


def test_a_pods_cluster_may_have_an_address_of_ip_6(tmp_path: Path, pod: dict[str, str]) -> None:
    assert find(tmp_path, {**pod, "KUBERNETES_SERVICE_HOST": "fd00::1"}).cluster.server == "https://[fd00::1]:443"


def test_a_pod_without_token_is_told_why(tmp_path: Path, pod: dict[str, str]) -> None:
    (config.SERVICE_ACCOUNT / "token").unlink()
    with pytest.raises(SettingsError, match="automountServiceAccountToken"):
        find(tmp_path, pod)


def test_the_setting_is_before_the_variable_is_before_the_pod_is_before_home(
    tmp_path: Path, pod: dict[str, str]
) -> None:
    write(tmp_path / "home" / ".kube" / "config", kubeconfig("https://home:1"))
    variable = {"KUBECONFIG": str(write(tmp_path / "variable", kubeconfig("https://variable:1")))}
    write(tmp_path / "setting", kubeconfig("https://setting:1"))
    assert find(tmp_path).cluster.server == "https://home:1"
    assert find(tmp_path, pod).cluster.server == "https://10.0.0.1:443"
    assert find(tmp_path, {**pod, **variable}).cluster.server == "https://variable:1"
    assert find(tmp_path, {**pod, **variable}, kubeconfig="setting").cluster.server == "https://setting:1"
    assert find(tmp_path, pod, context="test").cluster.server == "https://home:1", "a context is one of a file"


def test_nothing_anywhere_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no setting kubeconfig, no \$KUBECONFIG, no ~/.kube/config"):
        find(tmp_path)


def test_of_several_files_the_first_that_says_a_thing_is_believed(tmp_path: Path) -> None:
    first = {"contexts": [{"name": "test", "context": {"cluster": "near", "user": "other"}}], "users": None}
    second = kubeconfig("https://second:1", {"token": SECRET})
    third = kubeconfig("https://third:1")
    third["current-context"] = "no matter"
    third["users"].append({"name": "other", "user": {"tokenFile": "token"}})
    files = [write(tmp_path / "a" / "first", first), tmp_path / "gone", write(tmp_path / "b" / "second", second)]
    files.append(write(tmp_path / "c" / "third", third))
    target = find(tmp_path, {"KUBECONFIG": os.pathsep.join(map(str, files))})
    assert target.cluster.server == "https://second:1"
    assert target.user.token_file == str(tmp_path / "c" / "token"), "paths are relative to the file that has them"
    assert target.user.token == ""


def test_paths_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    user = {"client-certificate": "me.crt", "client-key": "/keys/me.key"}
    write(tmp_path / "sub" / "config", kubeconfig("https://a:1", user, **{"certificate-authority": "../ca.crt"}))
    target = find(tmp_path, kubeconfig="sub/config")
    assert target.user.client_certificate == str(tmp_path / "sub" / "me.crt")
    assert target.user.client_key == "/keys/me.key"
    assert target.cluster.certificate_authority == str(tmp_path / "sub" / "../ca.crt")


def test_namespace_is_the_settings_or_the_contexts_or_default(tmp_path: Path) -> None:
    value = kubeconfig("https://a:1")
    write(tmp_path / "config", value)
    assert find(tmp_path, kubeconfig="config").namespace == "home"
    assert find(tmp_path, kubeconfig="config", namespace="mine").namespace == "mine"
    del value["contexts"][0]["context"]["namespace"]
    write(tmp_path / "config", value)
    assert find(tmp_path, kubeconfig="config").namespace == "default"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"current-context": "nope"}, "there is no context 'nope'; accepted: one of test"),
        ({"current-context": ""}, "no current-context; accepted: one of test"),
        ({"clusters": []}, r"there is no cluster 'near'; accepted: one of \(there is none\)"),
        ({"users": None}, "there is no user 'somebody'"),
        ({"users": [{"name": "somebody", "user": {"token": 7}}]}, r"Expected `str`, got `int` - at `\$.users"),
        ({"clusters": [{"name": "near", "cluster": {"server": "a:1"}}]}, "server is no URL"),
        ({"clusters": [{"name": "near", "cluster": {"server": "https://u:p@a:1"}}]}, "server is no URL"),
        ({"clusters": [{"name": "near", "cluster": {"server": "https://a:99999"}}]}, "server is no URL"),
        ({"clusters": [{"name": "near", "cluster": {"server": "https://bücher.test"}}]}, "server is no URL"),
        ({"clusters": [{"name": "near", "cluster": {"server": "http://a:1"}}]}, "credentials are not sent over http"),
        (
            {"clusters": [{"name": "near", "cluster": {"server": "https://a", "certificate-authority-data": "-"}}]},
            "certificate-authority-data",
        ),
        (
            {
                "clusters": [
                    {
                        "name": "near",
                        "cluster": {
                            "server": "https://a",
                            "insecure-skip-tls-verify": True,
                            "certificate-authority": "x",
                        },
                    }
                ]
            },
            "insecure-skip-tls-verify and a certificate-authority exclude each other",
        ),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = write(tmp_path / "config", {**kubeconfig("https://a:1", {"token": SECRET}), **change})
    with pytest.raises(SettingsError, match=words) as caught:
        find(tmp_path, kubeconfig="config")
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such kubeconfig"):
        find(tmp_path, kubeconfig="config")
    with pytest.raises(SettingsError, match="no such kubeconfig"):
        find(tmp_path, {"KUBECONFIG": str(tmp_path / "config")})
    for line in (
        f"token: {SECRET}\n bad: [\n",
        f"token: *{SECRET}",
        f"token: !{SECRET}",
        f"a: &{SECRET} 1\nb: *{SECRET}",
    ):
        write(tmp_path / "config", f"users:\n{line}")
        with pytest.raises(SettingsError, match=r"config: is no YAML, or YAML with aliases in line [23]") as caught:
            find(tmp_path, kubeconfig="config")
        assert SECRET not in str(caught.value)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    user = {
        "token": SECRET,
        "password": SECRET,
        "exec": {"apiVersion": "v1", "command": "c", "env": [{"name": "A", "value": SECRET}]},
    }
    write(tmp_path / "config", kubeconfig("https://a:1", user))
    target = find(tmp_path, kubeconfig="config")
    assert target.user.token == SECRET
    assert SECRET not in repr(target)
    assert SECRET not in repr(target.user.exec)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "user", "cluster", "context", "server", "token", "exec"]), inner)
    ),
    max_leaves=8,
)


@given(
    value=st.dictionaries(st.sampled_from(["clusters", "users", "contexts", "current-context"]), JSON) | JSON,
    text=st.none() | st.text(max_size=30),
)
def test_any_file_is_a_cluster_or_an_error_in_words(
    tmp_path_factory: pytest.TempPathFactory, value: Any, text: str | None
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "config").write_bytes((yaml.safe_dump(value) if text is None else text).encode("utf-8", "surrogatepass"))
    with pytest.raises(SettingsError):
        find(folder, kubeconfig="config")


@pytest.mark.parametrize(
    ("server", "environment", "proxy"),
    [
        ("https://a.test", {}, ""),
        ("https://a.test", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://a.test", {"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, "http://p:1"),
        ("http://a.test", {"HTTPS_PROXY": "http://p:1"}, ""),
        ("https://a.test", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "b.test,.test"}, ""),
        ("https://10.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, ""),
        ("https://11.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://p:1"),
        ("https://127.0.0.1", {"HTTPS_PROXY": "http://p:1"}, ""),
        ("https://[::1]:8", {"HTTPS_PROXY": "http://p:1"}, ""),
        ("https://localhost", {"HTTPS_PROXY": "http://p:1"}, ""),
    ],
)
def test_proxies_of_the_environment(tmp_path: Path, server: str, environment: dict[str, str], proxy: str) -> None:
    write(tmp_path / "config", kubeconfig(server))
    assert proxy_of(find(tmp_path, kubeconfig="config"), environment) == proxy


def test_a_proxy_of_the_kubeconfig_is_before_that_of_the_environment(tmp_path: Path) -> None:
    write(tmp_path / "config", kubeconfig("https://a.test", {}, **{"proxy-url": "http://own:1"}))
    assert proxy_of(find(tmp_path, kubeconfig="config"), {"HTTPS_PROXY": "http://p:1"}) == "http://own:1"
