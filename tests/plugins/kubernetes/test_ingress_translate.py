"""One Ingress as what it claims, and the words for what cannot be used. The rest of it is never hurt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import Forward, HostKind, HostMatch, PathKind, PathMatch, Redirect, normal_target
from daemun_kubernetes.client.kinds import HttpIngressPath, Ingress, IngressBackend, IngressServiceBackend
from daemun_kubernetes.ingress.settings import IngressSettings
from daemun_kubernetes.ingress.translate import Translation, host_match, path_match, translate

from .ingresses import ingress, path, rule

SETTINGS = IngressSettings()


def names(translation: Translation) -> list[str]:
    return [route.name for routes in translation.routes.values() for route in routes]


def words(translation: Translation) -> list[str]:
    return [problem.message for problem in translation.problems]


@pytest.mark.parametrize(
    ("host", "match"),
    [
        ("", HostMatch(HostKind.ANY)),
        ("foo.bar.com", HostMatch(HostKind.EXACT, "foo.bar.com")),
        ("Foo.Bar.com.", HostMatch(HostKind.EXACT, "foo.bar.com")),
        ("*.bar.com", HostMatch(HostKind.ONE_LABEL, "bar.com")),
    ],
)
def test_hosts(host: str, match: HostMatch) -> None:
    assert host_match(host) == match


@pytest.mark.parametrize(
    "host", ["*", "*.", "a.*.com", "a b", "a/b", "a:80", "-a.com", "..", "a..b", "ä.de", "*.*.com"]
)
def test_what_is_no_host_is_refused_in_words(host: str) -> None:
    with pytest.raises(ValueError, match="is no host; accepted: a name, "):
        host_match(host)


@pytest.mark.parametrize(
    ("text", "path_type", "match"),
    [
        ("/foo", "Exact", PathMatch(PathKind.EXACT, "/foo")),
        ("/foo/", "Exact", PathMatch(PathKind.EXACT, "/foo/")),
        ("/foo/", "Prefix", PathMatch(PathKind.SEGMENT_PREFIX, "/foo")),
        ("/", "Prefix", PathMatch(PathKind.SEGMENT_PREFIX, "/")),
        ("", "ImplementationSpecific", PathMatch(PathKind.SEGMENT_PREFIX, "/")),
        ("/a", "ImplementationSpecific", PathMatch(PathKind.SEGMENT_PREFIX, "/a")),
        ("/caf\u00e9 1", "Prefix", PathMatch(PathKind.SEGMENT_PREFIX, "/caf%C3%A9%201")),
        ("/%61%2Fb", "Exact", PathMatch(PathKind.EXACT, "/a%2Fb")),
        ("/a?b#c", "Exact", PathMatch(PathKind.EXACT, "/a%3Fb%23c")),
    ],
)
def test_paths_are_as_requests_have_them(text: str, path_type: str, match: PathMatch) -> None:
    assert path_match(text, path_type) == match


@pytest.mark.parametrize(
    ("text", "path_type", "said"),
    [
        ("foo", "Exact", "path 'foo' takes nothing; accepted: a path that begins with /"),
        ("", "Prefix", "path '' takes nothing; accepted: a path that begins with /"),
        ("/a/../b", "Prefix", "path '/a/../b' takes nothing: a path holds no dot segments; send it resolved"),
        ("/a%2", "Prefix", "path '/a%2' takes nothing: a path holds a % that two hex digits do not follow"),
        ("/a", "Regex", "path type 'Regex' is not known; accepted: Exact, Prefix, ImplementationSpecific"),
    ],
)
def test_what_takes_nothing_is_refused_in_words(text: str, path_type: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        path_match(text, path_type)
    assert str(caught.value) == said


@given(st.text(max_size=20), st.sampled_from(["Exact", "Prefix", "ImplementationSpecific"]))
def test_whatever_the_path_it_is_refused_or_in_the_normal_form_of_requests(text: str, path_type: str) -> None:
    try:
        match = path_match(text, path_type)
    except ValueError:
        return
    assert match.value.startswith("/")
    assert normal_target(match.value.encode()) == match.value.encode()


@given(st.text(max_size=20))
def test_whatever_the_host_it_is_refused_or_in_the_normal_form_of_requests(text: str) -> None:
    try:
        match = host_match(text)
    except ValueError:
        return
    assert match.value == match.value.lower()
    assert "*" not in match.value


def test_a_rule_is_a_route_for_each_path_on_all_listeners() -> None:
    one = ingress("web", rule("a.test", path("/x", "cart:80"), path("/y", "cart:web", "Exact")), namespace="shop")
    translation = translate(one, SETTINGS)
    first, second = (routes[0] for routes in translation.routes.values())
    assert (first.name, second.name) == ("shop/web:a.test/x", "shop/web:a.test=/y")
    assert first.listeners == ("http", "https")
    assert first.origin == "ingress shop/web"
    assert isinstance(first.action, Forward)
    assert first.action.splits[0].backend == "shop/cart:80"
    assert {target.backend for target in translation.targets} == {"shop/cart:80", "shop/cart:web"}
    assert not translation.problems


def test_a_default_back_end_takes_what_is_left_of_its_hosts_and_of_all_others() -> None:
    one = ingress("web", rule("a.test", path("/x", "cart:80")), rule("*.b.test"), default="rest:80")
    assert names(translate(one, SETTINGS)) == [
        "default/web:a.test/x",
        "default/web:*.b.test/",
        "default/web:a.test!default",
        "default/web:*.b.test!default",
        "default/web:*!default",
    ]


@pytest.mark.parametrize(
    ("one", "served", "said"),
    [
        (
            ingress("web", rule("a b", path("/", "cart:80")), rule("a.test", path("/", "cart:80"))),
            ["default/web:a.test/"],
            ["spec.rules[0].host: 'a b' is no host; accepted: a name, *. before a name, or nothing"],
        ),
        (
            ingress("web", rule("a.test", path("x", "cart:80"), path("/y", "cart:80"))),
            ["default/web:a.test/y"],
            ["spec.rules[0].http.paths[0]: path 'x' takes nothing; accepted: a path that begins with /"],
        ),
        (
            ingress("web", rule("a.test", path("/x", "cart:80"), path("/x/", "other:80"))),
            ["default/web:a.test/x"],
            ["a.test/x is there twice; the first is served"],
        ),
        (ingress("web"), [], ["there is no rule with a path, and no defaultBackend; nothing is served"]),
        (
            ingress("web", rule("a.test", path("/x(/|$)", "cart:80", "ImplementationSpecific"))),
            ["default/web:a.test/x(/%7C$)"],
            ["spec.rules[0].http.paths[0]: '/x(/|$)' is taken as a prefix, not as a regular expression"],
        ),
        (
            ingress("web", rule("a.test", path("/", "cart:80")), annotations={"daemun.dev/redirect": "http"}),
            ["default/web:a.test/"],
            ["daemun.dev/redirect: 'http' is not known; accepted: https"],
        ),
        (
            ingress("web", rule("a.test", path("/", "cart:80")), tls=[("cert", ("*",))]),
            ["default/web:a.test/"],
            ["spec.tls[0].hosts: '*' is no host; accepted: a name, *. before a name, or nothing"],
        ),
    ],
)
def test_what_cannot_be_used_is_said_and_the_rest_is_served(one: Ingress, served: list[str], said: list[str]) -> None:
    translation = translate(one, SETTINGS)
    assert names(translation) == served
    assert words(translation) == said


@pytest.mark.parametrize(
    ("back_end", "said"),
    [
        (path("/x", "Bucket/files").backend, "a resource (Bucket files) cannot be served; use a service"),
        (IngressBackend(), "the back end names no service"),
        (IngressBackend(service=IngressServiceBackend(name="cart")), "service cart is named without a port"),
    ],
)
def test_a_path_whose_back_end_cannot_be_used_goes_nowhere_and_to_nobody_else(
    back_end: IngressBackend, said: str
) -> None:
    bad = HttpIngressPath(path="/x", path_type="Prefix", backend=back_end)
    translation = translate(ingress("web", rule("a.test", bad, path("/", "cart:80"))), SETTINGS)
    ((nowhere,), _) = translation.routes.values()
    assert isinstance(nowhere.action, Forward)
    assert nowhere.action.splits[0].backend == "nowhere"
    assert words(translation) == [f"a.test/x: {said}"]


def test_certificates_are_for_the_hosts_that_are_named_or_for_those_of_the_rules() -> None:
    one = ingress(
        "web",
        rule("a.test", path("/", "cart:80")),
        rule("*.b.test", path("/", "cart:80")),
        tls=[("first", ("c.b.test",)), ("second", ("c.b.test",)), ("third", ()), ("", ("e.test",))],
    )
    translation = translate(one, SETTINGS)
    assert translation.hosts == {"c.b.test": "first", "a.test": "third", "*.b.test": "third"}
    assert words(translation) == []
    assert translate(ingress("web", default="cart:80", tls=[("any", ())]), SETTINGS).hosts == {"": "any"}
    any_host = ingress("web", rule("", path("/", "cart:80")), tls=[("any", ("a.test", "*.b.test", ""))])
    assert translate(any_host, SETTINGS).hosts == {"a.test": "any", "*.b.test": "any", "": "any"}


def test_of_a_wildcard_certificate_what_is_in_no_rule_is_left_out() -> None:
    one = ingress(
        "web",
        rule("a.b.test", path("/", "cart:80")),
        rule("c.b.test", path("/", "cart:80")),
        rule("d.test", path("/", "cart:80")),
        tls=[("wild", ("*.b.test",)), ("own", ("c.b.test",)), ("foreign", ("e.test", "*.f.test", ""))],
    )
    translation = translate(one, SETTINGS)
    assert translation.hosts == {"a.b.test": "wild", "c.b.test": "own", "d.test": "foreign"}
    assert words(translation) == [
        f"spec.tls[2].hosts: {host!r} is in no rule of this Ingress; accepted: what is"
        for host in ("e.test", "*.f.test")
    ]
    shared = translate(one, IngressSettings(share_hosts=True))
    assert shared.hosts == {
        "*.b.test": "wild",
        "c.b.test": "own",
        "e.test": "foreign",
        "*.f.test": "foreign",
        "": "foreign",
    }
    assert words(shared) == []


def test_without_listeners_for_tls_its_certificates_are_of_no_use_and_said_to_be() -> None:
    one = ingress(
        "web",
        rule("a.test", path("/", "cart:80")),
        tls=[("cert", ())],
        annotations={"daemun.dev/redirect": "https"},
    )
    translation = translate(one, IngressSettings(https_listeners=()))
    assert translation.hosts == {}
    assert words(translation) == [
        "daemun.dev/redirect: the gateway has no listeners with TLS for Ingresses",
        "spec.tls[0]: the gateway has no listeners with TLS for Ingresses",
    ]
    assert [route.listeners for routes in translation.routes.values() for route in routes] == [("http",)]


def test_a_redirect_is_for_listeners_without_tls() -> None:
    one = ingress("web", rule("a.test", path("/x", "cart:80")), annotations={"daemun.dev/redirect": "https"})
    ((forward, again),) = translate(one, SETTINGS).routes.values()
    assert forward.listeners == ("https",)
    assert (again.listeners, again.action) == (("http",), Redirect(scheme="https", status=308))
    assert again.name != forward.name
