# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the table of commands is made of, and all of it that is not about containers."""

from __future__ import annotations

from typing import NamedTuple

KINDS = ("image", "bridge", "volume", "container")
#: What changes nothing, or becomes another program.
LOOKING = ("help", "version", "completion", "list", "inspect", "exec", "logs", "stats")


class Flag(NamedTuple):
    """A flag: its names, its value's (empty for a switch), what it does in English and French.

    :param bare: the long name without dashes of the switch that its short name is where no value follows.
    """

    short: str
    long: str
    value: str
    en: str
    fr: str
    many: bool = False
    bare: str = ""

    @property
    def key(self) -> str:
        """Return what the flag is called in :class:`parse.Options`."""
        return self.long[2:]


class Command(NamedTuple):
    """A command.

    :param handler: ``module:function`` of this package.
    :param names: how many resources it takes: none (empty), ``one`` or ``many``; ``maybe`` one, or ``any`` number;
        ``two``: exactly two; ``pair``: two other words.
    :param required: long names without which it cannot run.
    :param program: it takes a program after ``--``.
    """

    kind: str
    verb: str
    handler: str
    flags: tuple[Flag, ...]
    names: str
    en: str
    fr: str
    required: tuple[str, ...] = ()
    program: bool = False
    root: bool = True
    examples: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """The exit code when Baleine fails."""
        return 125 if self.program else 1

    @property
    def guarded(self) -> bool:
        """Whether a signal that ends it shall unwind what is half made."""
        return self.verb not in LOOKING


FORMAT = Flag("", "--format", "FORMAT", "table (the default) or json", "table (par défaut) ou json")
QUIET = Flag("-q", "--quiet", "", "print the names only", "n'afficher que les noms")
RESULT = Flag("", "--format", "FORMAT", "json: print all that is known of what was made; table (the default): nothing",
              "json : afficher tout ce que l'on sait de ce qui est créé ; table (par défaut) : rien")  # fmt: skip
REPLACE = Flag("-f", "--force", "", "replace an image of that name", "remplacer une image de ce nom")
FORCE = Flag("-f", "--force", "", "one that does not exist is no error", "l'absence n'est pas une erreur")
IMAGE = Flag("-i", "--name", "NAME", "the image, NAME or NAME:TAG", "l'image, NOM ou NOM:ÉTIQUETTE", True)
BRIDGE = Flag("-b", "--bridge", "NAME", "the bridge", "le pont", True)
VOLUME = Flag("-v", "--name", "NAME", "the volume", "le volume", True)
DRY_RUN = Flag("-n", "--dry-run", "", "only print the names", "seulement afficher les noms")
CONTAINER = Flag("-c", "--name", "NAME", "the container", "le conteneur", True)
SIZE = Flag("-s", "--size", "SIZE", "its size; a bare number is MiB, otherwise 512M, 10G… (default 10G)",
            "sa taille ; un nombre seul est en Mio, sinon 512M, 10G… (10G par défaut)")  # fmt: skip
PROXY = Flag("-p", "--proxy", "URL", "the HTTP proxy that packages are fetched through, or a registry is reached by",
             "le proxy HTTP par lequel les paquets sont téléchargés, ou un registre joint")  # fmt: skip
DIRECTORY = Flag("-r", "--directory", "DIRECTORY", "where its file is kept (default /var/lib/baleine/images)",
                 "où son fichier est gardé (/var/lib/baleine/images par défaut)")  # fmt: skip
INSECURE = Flag("", "--insecure", "", "believe a registry without TLS, or whose certificate nobody vouches for",
                "accepter un registre sans TLS, ou dont personne ne garantit le certificat")  # fmt: skip
#: How an image is made.
MADE = (
    Flag("", "--packages", "PACKAGE[,…]", "what is installed (default apache2,vim,nano); none: a bare tree",
         "ce qui est installé (apache2,vim,nano par défaut) ; none : un système nu"),
    Flag("", "--suite", "SUITE", "the release, of Debian, Ubuntu or the mirror (default bookworm)",
         "la version, de Debian, d'Ubuntu ou du miroir (bookworm par défaut)"),
    Flag("", "--mirror", "URL", "where packages are fetched from", "d'où viennent les paquets"),
    Flag("", "--keyring", "FILE", "the keys that the suite is signed with, where the host does not trust them already",
         "les clés qui signent la version, si l'hôte ne les connaît pas déjà"),
    Flag("", "--repository", "NAME=URL", "a repository of rpm packages: a tree of Red Hat's family; may be repeated",
         "un dépôt de paquets rpm, pour un système de la famille Red Hat ; peut être répété", True),
    Flag("", "--gpgkey", "FILE", "the public key that packages of these repositories must be signed with",
         "la clé publique qui doit signer les paquets de ces dépôts"),
    Flag("", "--releasever", "VERSION", "what $releasever stands for in their addresses",
         "ce que vaut $releasever dans leurs adresses"),
    Flag("", "--architecture", "NAME", "another one than the host's, through qemu-user: arm64",
         "une autre architecture que celle de l'hôte, par qemu-user : arm64"),
    Flag("", "--from-image", "NAME", "start from this image instead of nothing; packages are added to it",
         "partir de cette image plutôt que de rien ; les paquets s'y ajoutent"),
)  # fmt: skip


def name_flag(kind: str) -> Flag:
    """Return the flag by which a kind's resources are named, beside the plain argument."""
    return {"volume": VOLUME, "image": IMAGE, "bridge": BRIDGE, "container": CONTAINER}[kind]


HELP = Command(
    "", "help", "manual:show", (), "many",
    "Show this manual, or the part of it that is about COMMAND. It is in French where the locale is.",
    "Afficher ce manuel, ou sa partie sur COMMANDE. Il est en français si la langue du système l'est.",
    root=False, examples=("baleine help container create",),
)  # fmt: skip

VERSION = Command(
    "", "version", "manual:version", (), "",
    "Print the version of Baleine (also --version).", "Afficher la version de Baleine (aussi --version).", root=False,
)  # fmt: skip

COMPLETION = Command(
    "", "completion", "completion:show", (), "",
    "Print the completion of bash. The role host installs it; elsewhere: source <(baleine completion). zsh takes it "
    "after autoload -U bashcompinit && bashcompinit.",
    "Afficher la complétion pour bash. Le rôle host l'installe ; ailleurs : source <(baleine completion). zsh la prend "
    "après autoload -U bashcompinit && bashcompinit.",
    root=False,
)  # fmt: skip

SUPERVISE = Command(
    "", "supervise", "supervise:supervise_", (), "",
    "One pass of supervision, as cron makes it every minute and at boot: what a crash left is finished or undone, what "
    "should run is started by its restart policy, checks are asked, logs are bounded. One line for each thing done.",
    "Un passage de supervision, que cron fait chaque minute et au démarrage : finir ou défaire ce qu'un arrêt brutal a "
    "laissé, démarrer ce qui doit tourner selon sa politique, interroger les contrôles, borner les journaux. Une ligne "
    "par chose faite.",
)  # fmt: skip

IMAGES = (
    Command(
        "image", "create", "images:create", (
            IMAGE,
            SIZE,
            DIRECTORY,
            PROXY, *MADE, RESULT,
        ), "one",
        "Make an image: one file with one ext4 filesystem that holds a system. An image that exists already is an error.",
        "Créer une image : un fichier dont l'unique système de fichiers ext4 contient un système. Si elle "
        "existe déjà, c'est une erreur.",
        examples=("baleine image create -i apache2 -s 10240", "baleine image create -i bare -s 2G --packages none")),
    Command(
        "image", "list", "show:list_", (QUIET, FORMAT), "",
        "List the images: name, size, what it takes on the disk, path.",
        "Lister les images : nom, taille, place prise sur le disque, chemin."),
    Command(
        "image", "remove", "show:remove", (IMAGE, FORCE), "many",
        "Remove images. One that a container uses is kept, and the error names these containers.",
        "Supprimer des images. Celle qu'un conteneur utilise est gardée, et l'erreur nomme ces conteneurs.",
        examples=("baleine image remove -i apache2", "baleine image remove apache2")),
    Command(
        "image", "import", "images:import_", (
            IMAGE,
            Flag("", "--source", "SOURCE", "docker-archive:FILE (docker save), oci-archive:FILE, oci:DIRECTORY, each with "
                 ":NAME:TAG behind it where it holds several; docker://HOST/NAME:TAG; tar:FILE, dir:DIRECTORY; "
                 "https://HOST/PATH/NAME.image (image publish)",
                 "docker-archive:FICHIER (docker save), oci-archive:FICHIER, oci:RÉPERTOIRE, chacun suivi de "
                 ":NOM:ÉTIQUETTE s'il en contient plusieurs ; docker://HÔTE/NOM:ÉTIQUETTE ; tar:FICHIER, dir:RÉPERTOIRE ; "
                 "https://HÔTE/CHEMIN/NOM.image (image publish)"),
            SIZE, DIRECTORY, PROXY, INSECURE,
            Flag("", "--unsigned", "", "take a published image without a signature",
                 "accepter une image publiée sans signature"),
            Flag("", "--ca-certificate", "FILE", "the certificates that may vouch for the web server",
                 "les certificats qui peuvent garantir le serveur web"),
            RESULT,
        ), "one",
        "Make an image of one of Docker's or of the OCI, with its configuration, or of a root filesystem in a tar archive "
        "or a directory. Digests are checked before anything is used.",
        "Créer une image à partir d'une image Docker ou OCI, avec sa configuration, ou d'un système de fichiers dans une "
        "archive tar ou un répertoire. Les empreintes sont vérifiées avant tout usage.",
        required=("source",),
        examples=("baleine image import -i web --source docker-archive:web.tar -s 2G",
                  "baleine image import -i web:2 --source docker://registry.example.org/web:2",
                  "baleine image import -i web --source https://www.example.org/images/web.image")),
    Command(
        "image", "export", "images:export", (
            IMAGE,
            Flag("", "--target", "TARGET", "docker-archive:FILE, oci-archive:FILE, each with :NAME:TAG behind it for "
                 "another name; docker://HOST/NAME:TAG; tar:FILE",
                 "docker-archive:FICHIER, oci-archive:FICHIER, chacun suivi de :NOM:ÉTIQUETTE pour un autre nom ; "
                 "docker://HÔTE/NOM:ÉTIQUETTE ; tar:FICHIER"),
            PROXY, INSECURE, RESULT,
        ), "one",
        "Write an image to an archive that docker load, podman load and others take, or to a registry, with its "
        "configuration; or its tree alone to a tar. Nothing is written where the target holds that content already.",
        "Écrire une image dans une archive que prennent docker load, podman load et d'autres, ou dans un registre, avec sa "
        "configuration ; ou son arborescence seule dans un tar. Rien n'est écrit si la cible a déjà ce contenu.",
        required=("target",),
        examples=("baleine image export -i web --target docker-archive:web.tar",
                  "baleine image export -i web:2 --target docker://registry.example.org/web:2")),
    Command(
        "image", "mount", "images:mount", (IMAGE,), "one",
        "Mount a copy of an image to edit it by hand, and print where. The image changes with umount; containers are made "
        "from the old one until then.",
        "Monter une copie d'une image pour la modifier à la main, et dire où. L'image change avec umount ; jusque-là les "
        "conteneurs sont créés à partir de l'ancienne."),
    Command(
        "image", "umount", "images:umount", (IMAGE,), "one",
        "End the editing: check the copy and put it in the image's place.",
        "Finir la modification : vérifier la copie et la mettre à la place de l'image."),
    Command(
        "image", "tag", "images:tag", (
            IMAGE, Flag("", "--target", "NAME:TAG", "the other name", "l'autre nom"), REPLACE, RESULT,
        ), "one",
        "Give an image's content another name too: a copy, which shares its blocks with it where the filesystem can. "
        "Containers of an image that is replaced stay on what they were copied from.",
        "Donner aussi un autre nom au contenu d'une image : une copie, qui partage ses blocs avec elle si le système de "
        "fichiers le peut. Les conteneurs d'une image remplacée gardent ce dont ils sont la copie.",
        required=("target",),
        examples=("baleine image tag -i web --target web:2", "baleine image tag -i web:1 --target web --force")),
    Command(
        "image", "diff", "images:diff", (IMAGE, FORMAT), "two",
        "List what differs between the first image and the second: A for added, C for changed, D for deleted, then "
        "settings. A time alone is no difference.",
        "Lister ce qui diffère entre la première image et la seconde : A pour ajouté, C pour modifié, D pour supprimé, "
        "puis les réglages. Une date seule n'est pas une différence.",
        examples=("baleine image diff -i web:1 -i web:2", "baleine image diff web:1 web")),
    Command(
        "image", "prune", "images:prune", (
            Flag("-a", "--all", "", "also those without a tag (latest)", "aussi celles sans étiquette (latest)"),
            Flag("", "--packages", "", "instead, the packages that are kept for later builds, and print how much they take",
                 "plutôt les paquets gardés pour d'autres images, et afficher leur taille"), DRY_RUN,
        ), "",
        "Remove the versions (NAME:TAG) that no container was made from and no image that stays starts from, and print "
        "their names.",
        "Supprimer les versions (NOM:ÉTIQUETTE) dont aucun conteneur n'est issu et dont aucune image gardée ne part, et "
        "afficher leurs noms."),
    Command(
        "image", "inspect", "show:inspect", (IMAGE, FORMAT), "many",
        "Show everything that is known of images.", "Montrer tout ce que l'on sait des images."),
    Command(
        "image", "publish", "publishing:publish", (
            IMAGE,
            Flag("", "--directory", "DIRECTORY", "where they are written, for a web server to give them away",
                 "où ils sont écrits, pour qu'un serveur web les donne"),
            Flag("", "--version", "VERSION", "what is published of it (default: its tag, or else when it was made)",
                 "ce qui en est publié (par défaut son étiquette, sinon sa date)"),
            Flag("", "--key", "KEY", "the secret key of GnuPG that signs; without it nothing is signed",
                 "la clé secrète de GnuPG qui signe ; sans elle rien n'est signé"),
        ), "one",
        "Make an image ready for any web server: NAME.image describes it, NAME-VERSION.tar.zst holds it, NAME.image.sig is "
        "the signature of the description. Elsewhere: baleine image import --source https://HOST/PATH/NAME.image",
        "Préparer une image pour n'importe quel serveur web : NOM.image la décrit, NOM-VERSION.tar.zst la contient, "
        "NOM.image.sig est la signature de la description. Ailleurs : baleine image import --source "
        "https://HÔTE/CHEMIN/NOM.image",
        required=("directory",),
        examples=("baleine image publish -i apache2 --directory /var/www/html/images --key images@example.org",)),
    Command(
        "image", "trust", "publishing:trust", (
            Flag("", "--prefix", "PREFIX", "the name of published images, or its beginning before . - or _",
                 "le nom d'images publiées, ou son début avant . - ou _"),
            Flag("", "--key", "FILE", "the public keys whose signature is believed for these names, instead of others",
                 "les clés publiques dont la signature est acceptée pour ces noms, à la place d'autres"),
            Flag("", "--remove", "", "believe none for these names", "n'en accepter aucune pour ces noms"),
        ), "",
        "List which keys are trusted for which names of published images, or change it. The longest prefix decides alone.",
        "Lister les clés auxquelles on se fie pour chaque nom d'image publiée, ou les changer. Le préfixe le plus long "
        "décide seul.",
        examples=("baleine image trust --prefix apache2 --key images.asc",)),
)  # fmt: skip

BRIDGES = (
    Command(
        "bridge", "create", "bridges:create", (
            BRIDGE,
            Flag("-a", "--address", "ADDRESS/PREFIX[,…]", "the host's addresses on it",
                 "les adresses de l'hôte sur ce pont"),
            Flag("", "--mtu", "BYTES", "the MTU (default 1500)", "le MTU (1500 par défaut)"),
            Flag("", "--stp", "", "look for loops with the spanning tree protocol",
                 "chercher les boucles avec le protocole STP"),
            Flag("", "--mac", "MAC", "its MAC address (default: made from its name and this machine)",
                 "son adresse MAC (par défaut tirée de son nom et de cette machine)"),
        ), "one", "Make a bridge and set it up. A bridge that exists already is an error.",
        "Créer un pont et l'activer. S'il existe déjà, c'est une erreur.",
        examples=("baleine bridge create -b private -a 192.168.42.1/24",)),
    Command(
        "bridge", "list", "show:list_", (QUIET, FORMAT), "",
        "List the bridges: name, state, addresses, STP, how many containers are connected.",
        "Lister les ponts : nom, état, adresses, STP, nombre de conteneurs connectés."),
    Command(
        "bridge", "remove", "show:remove", (BRIDGE, FORCE), "many",
        "Remove bridges. One that containers are connected to is kept, and the error names them.",
        "Supprimer des ponts. Celui auquel des conteneurs sont connectés est gardé, et l'erreur les nomme.",
        examples=("baleine bridge remove -b private", "baleine bridge remove private")),
    Command(
        "bridge", "up", "bridges:set_state", (BRIDGE,), "many", "Set bridges up, as they were created.",
        "Activer des ponts, tels qu'ils ont été créés.", examples=("baleine bridge -b private up",)),
    Command(
        "bridge", "down", "bridges:set_state", (BRIDGE,), "many",
        "Set bridges down: their containers stay, cut off.", "Désactiver des ponts : leurs conteneurs restent, isolés.",
        examples=("baleine bridge -b private down",)),
    Command(
        "bridge", "inspect", "show:inspect", (BRIDGE, FORMAT), "many",
        "Show everything that is known of bridges.", "Montrer tout ce que l'on sait des ponts."),
)  # fmt: skip

VOLUMES = (
    Command(
        "volume", "create", "volumes:create", (VOLUME,), "one",
        "Make an empty volume: a directory that outlives containers, and that several can share. A container that names "
        "one makes it too.",
        "Créer un volume vide : un répertoire qui survit aux conteneurs et que plusieurs peuvent partager. Un conteneur "
        "qui en nomme un le crée aussi.", examples=("baleine volume create -v data",)),
    Command(
        "volume", "list", "show:list_", (QUIET, FORMAT), "",
        "List the volumes: name, path, containers.", "Lister les volumes : nom, chemin, conteneurs."),
    Command(
        "volume", "remove", "show:remove", (VOLUME, FORCE), "many",
        "Destroy volumes with their files. One that a container names is kept, and the error names these containers.",
        "Détruire des volumes et leurs fichiers. Celui qu'un conteneur nomme est gardé, et l'erreur nomme ces conteneurs."),
    Command(
        "volume", "inspect", "show:inspect", (VOLUME, FORMAT), "many",
        "Show everything that is known of volumes.", "Montrer tout ce que l'on sait des volumes."),
    Command(
        "volume", "backup", "volumes:backup", (
            VOLUME,
            Flag("", "--target", "FILE", "a new tar file; .gz, .xz or .zst compresses it",
                 "un nouveau fichier tar ; .gz, .xz ou .zst le compresse"),
        ), "one", "Write the files of a volume to a tar file. Containers that write meanwhile are not stopped.",
        "Écrire les fichiers d'un volume dans un fichier tar. Les conteneurs qui écrivent pendant ce temps ne sont pas "
        "arrêtés.", required=("target",), examples=("baleine volume backup -v data --target /srv/data.tar.gz",)),
    Command(
        "volume", "restore", "volumes:restore", (
            VOLUME, Flag("", "--source", "FILE", "the tar file", "le fichier tar"),
            Flag("-f", "--force", "", "also into one that holds files; they are lost",
                 "aussi dans un volume qui a des fichiers ; ils sont perdus"),
        ), "one", "Fill a new or empty volume from a tar file: all of it, or the volume stays as it was.",
        "Remplir un volume neuf ou vide depuis un fichier tar : entièrement, ou le volume reste comme il était.",
        required=("source",)),
    Command(
        "volume", "prune", "volumes:prune", (DRY_RUN,), "",
        "Destroy the volumes that no container names, and print their names.",
        "Détruire les volumes qu'aucun conteneur ne nomme, et afficher leurs noms."),
)  # fmt: skip

#: All that is not about containers.
OTHERS = (HELP, VERSION, COMPLETION, SUPERVISE, *IMAGES, *BRIDGES, *VOLUMES)
