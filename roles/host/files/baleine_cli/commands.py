# Copyright: Baleine contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of commands: the parser, the manual, and whatever else must know them, read it here and nowhere else."""

from __future__ import annotations

from .commands_common import CONTAINER, FORCE, FORMAT, MADE, OTHERS, PROXY, QUIET, REPLACE, RESULT, Command, Flag

ENV = Flag("-e", "--env", "KEY=VALUE", "a variable of its environment; may be repeated",
           "une variable de son environnement ; peut être répété", True)  # fmt: skip
USER = Flag("-u", "--user", "USER[:GROUP]", "who it runs as, by the container's own /etc/passwd",
            "l'utilisateur, selon le /etc/passwd du conteneur")  # fmt: skip
WORKDIR = Flag(
    "-w", "--workdir", "DIRECTORY", "its working directory inside", "son répertoire de travail, à l'intérieur"
)
LIMITS = (
    Flag("", "--memory", "SIZE", "the most memory it gets, swap included: 512M",
         "la mémoire maximale, espace d'échange compris : 512M"),
    Flag("", "--cpus", "NUMBER", "the most CPU time it gets, in CPUs: 0.5",
         "le temps processeur maximal, en nombre de processeurs : 0.5"),
    Flag("", "--cpu-weight", "NUMBER", "its share where CPU time is short, 1 to 10000 (default 100)",
         "sa part quand le temps processeur manque, de 1 à 10000 (100 par défaut)"),
    Flag("", "--cpuset", "CPUS", "the CPUs it may run on: 0-2,7", "les processeurs où il peut tourner : 0-2,7"),
    Flag("", "--cpuset-mems", "NODES", "the memory nodes it may use: 0",
         "les nœuds de mémoire qu'il peut utiliser : 0"),
    Flag("", "--pids", "NUMBER", "the most processes it may have (default 2048)",
         "le nombre maximal de processus (2048 par défaut)"),
    Flag("", "--io-read-rate", "SIZE", "the most bytes a second read from its disk: 10M",
         "le nombre maximal d'octets lus par seconde sur son disque : 10M"),
    Flag("", "--io-write-rate", "SIZE", "the most bytes a second written to its disk: 10M",
         "le nombre maximal d'octets écrits par seconde sur son disque : 10M"),
    Flag("", "--io-read-ops", "NUMBER", "the most reads a second", "le nombre maximal de lectures par seconde"),
    Flag("", "--io-write-ops", "NUMBER", "the most writes a second", "le nombre maximal d'écritures par seconde"),
    Flag("", "--device", "PATH[:ACCESS]", "a device of the host that it may use, access r, w, m (default rw); may be "
         "repeated", "un périphérique de l'hôte qu'il peut utiliser, accès r, w, m (rw par défaut) ; peut être répété",
         True),
)  # fmt: skip
RATE = Flag("", "--rate", "IN[/OUT][,…]", "the most bits a second that reach and leave it on the n-th bridge: "
            "20mbit/5mbit",
            "les débits maximaux en entrée et en sortie sur le n-ième pont, en bits par seconde : 20mbit/5mbit",
            )  # fmt: skip
TIME = Flag("-t", "--time", "SECONDS", "how long its program gets to end after SIGTERM (default 10)",
            "le temps laissé au programme pour finir après SIGTERM (10 par défaut)")  # fmt: skip
WAIT = Flag("", "--wait", "", "until its health check passes, at most 30 s", "attendre qu'il soit sain, au plus 30 s")
FILTER = Flag("", "--filter", "KEY=VALUE", "only those of this label (label=KEY or label=KEY=VALUE), state or image; "
              "may be repeated", "seulement ceux de cette étiquette (label=CLÉ ou label=CLÉ=VALEUR), de cet état ou de "
              "cette image (state, image) ; peut être répété", True)  # fmt: skip
INTERACTIVE = Flag("", "--interactive", "", "pass standard input on (also -i, where no NAME follows it)",
                   "transmettre l'entrée standard (aussi -i, sans NOM à la suite)")  # fmt: skip
TTY = Flag("-t", "--tty", "", "give it a terminal", "lui donner un terminal")
#: What a container is, but for its image, name and program.
DESCRIBED = (
    Flag("-b", "--bridge", "BRIDGE[,…]", "the bridges it is connected to: eth0, eth1, … in this order",
         "les ponts auxquels il est connecté : eth0, eth1, … dans cet ordre"),
    Flag("-a", "--address", "ADDRESS/PREFIX[,…]", "the n-th is for the n-th bridge; several addresses of one "
         "interface are joined with +, an empty one is none",
         "la n-ième est pour le n-ième pont ; plusieurs adresses d'une interface sont jointes par +, un élément "
         "vide n'en donne aucune"),
    Flag("", "--gateway", "GATEWAY[,…]", "the n-th is for the n-th bridge", "la n-ième est pour le n-ième pont"),
    RATE,
    Flag("-r", "--directory", "DIRECTORY", "where its disk is mounted while it runs (default /mnt/baleine/NAME)",
         "où son disque est monté pendant qu'il tourne (/mnt/baleine/NOM par défaut)"),
    Flag("", "--hostname", "NAME", "its host name (default: its name)", "son nom d'hôte (par défaut son nom)"),
    ENV, WORKDIR, USER,
    *LIMITS,
    Flag("-v", "--volume", "SOURCE:TARGET[:ro][:idmap]", "a named volume, or a path of the host, seen inside; with "
         "idmap a path's owners are those inside; may be repeated",
         "un volume nommé, ou un chemin de l'hôte, vu à l'intérieur ; avec idmap ses propriétaires sont ceux de "
         "l'intérieur ; peut être répété", True),
    Flag("", "--label", "KEY=VALUE", "a word of your own about it; may be repeated",
         "une étiquette de votre choix ; peut être répété", True),
    Flag("", "--restart", "POLICY[:RETRIES]", "whether cron starts it again: no, on-failure, unless-stopped (the "
         "default) or always",
         "si cron le redémarre : no, on-failure, unless-stopped (par défaut) ou always"),
    Flag("", "--depends-on", "NAME[:healthy]", "a container that must run, or be healthy, first; may be repeated",
         "un conteneur qui doit d'abord tourner, ou être sain ; peut être répété", True),
    Flag("", "--start-at", "CRONTAB", "when cron starts it: '0 8 * * 1-5'",
         "quand cron le démarre : '0 8 * * 1-5'"),
    Flag("", "--stop-at", "CRONTAB", "when cron stops it", "quand cron l'arrête"),
    Flag("", "--health-command", "PROGRAM", "a command that ends with 0 inside while it is well",
         "une commande qui, lancée à l'intérieur, finit par 0 quand il va bien"),
    Flag("", "--health-http", "PATH", "a path that answers while it is well",
         "un chemin qui répond quand il va bien"),
    Flag("", "--stop-signal", "SIGNAL", "what asks its program to end (default TERM)",
         "ce qui demande au programme de finir (TERM par défaut)"),
    Flag("", "--add-host", "NAME=ADDRESS", "a further name in its /etc/hosts; may be repeated",
         "un nom de plus dans son /etc/hosts ; peut être répété", True),
    Flag("", "--dns", "ADDRESS[,…]", "its name servers", "ses serveurs de noms"),
    Flag("", "--ulimit", "NAME=SOFT[:HARD]", "a limit of a process; may be repeated",
         "une limite d'un processus ; peut être répété", True),
    Flag("", "--sysctl", "KEY=VALUE", "a setting of its own namespaces; may be repeated",
         "un réglage de ses propres espaces de noms ; peut être répété", True),
    Flag("", "--secret", "NAME=FILE", "a file of the host seen as /run/secrets/NAME; may be repeated",
         "un fichier de l'hôte vu comme /run/secrets/NOM ; peut être répété", True),
    Flag("", "--share-network", "NAME", "the container whose network it shares",
         "le conteneur dont il partage le réseau"),
    Flag("", "--cap-add", "NAME[,…]", "capabilities that it has beyond the usual ones: NET_RAW",
         "capacités qu'il a en plus des habituelles : NET_RAW"),
    Flag("", "--cap-drop", "NAME[,…]", "usual capabilities that it has not, or ALL",
         "capacités habituelles qu'il n'a pas, ou ALL"),
    Flag("", "--new-privileges", "", "let set-user-ID programs (su, sudo) gain privileges inside",
         "laisser les programmes set-user-ID (su, sudo) gagner des privilèges à l'intérieur"),
    Flag("", "--seccomp", "PROFILE", "which system calls it may make: default, compat (32-bit programs too), "
         "unconfined, or a file in Docker's form",
         "les appels système permis : default, compat (aussi les programmes 32 bits), unconfined, ou un fichier au "
         "format de Docker"),
    Flag("", "--apparmor", "PROFILE", "what AppArmor lets it do, on a host that has that: default, unconfined, or "
         "a profile that is loaded",
         "ce qu'AppArmor lui permet, si l'hôte l'a : default, unconfined, ou un profil chargé"),
    Flag("", "--userns", "auto|host", "whose ids its users have: 65,536 of its own (the default) or the host's",
         "les identifiants de ses utilisateurs : 65 536 à lui (par défaut) ou ceux de l'hôte"),
    Flag("", "--read-only", "", "its disk cannot be written to while it runs",
         "rien ne peut être écrit sur son disque pendant qu'il tourne"),
    Flag("", "--tmpfs", "TARGET[:size=SIZE,mode=MODE]", "a directory in memory (default size=64M,mode=1777); may "
         "be repeated", "un répertoire en mémoire (size=64M,mode=1777 par défaut) ; peut être répété", True),
    Flag("", "--log-size", "SIZE", "how large its log may be (default 16M)",
         "la taille que son journal peut avoir (16M par défaut)"),
    Flag("", "--no-init", "", "the program itself is PID 1: no signals passed on, no exit code kept",
         "le programme est lui-même le PID 1 : ni signaux transmis, ni code de sortie gardé"),
    Flag("", "--create-image", "", "make the image first where there is none; the next flags are for that",
         "créer d'abord l'image si elle n'existe pas ; les options suivantes sont pour elle"),
    Flag("-s", "--size", "SIZE", "the size of its disk, and of the image if that is made; a bare number is MiB",
         "la taille de son disque, et de l'image si elle est créée ; un nombre seul est en Mio"),
    Flag("", "--proxy", PROXY.value, PROXY.en, PROXY.fr), *MADE,
)  # fmt: skip
CONTAINERS = (
    Command(
        "container", "create", "containers:create", (
            Flag("-i", "--image", "NAME", "the image that its disk is a copy of", "l'image dont son disque est une copie"),
            CONTAINER,
            Flag("-p", "--program", "PROGRAM", "its program with arguments in one string, split like shell words, given to "
                 "no shell",
                 "son programme avec arguments, en une chaîne découpée comme des mots du shell, jamais donnée à "
                 "un shell"),
            Flag("", "--no-start", "", "only create it", "le créer seulement"),
            WAIT, RESULT,
            *DESCRIBED,
        ), "one", "Make a container, a copy of an image, and start it. One that exists already is an error.",
        "Créer un conteneur, copie d'une image, et le démarrer. S'il existe déjà, c'est une erreur.",
        required=("image",),
        examples=("baleine container create -i apache2 -c web1 -b private -a 192.168.42.2/24 "
                  '-p "/usr/sbin/apache2ctl start"',
                  "baleine container create -c proxy -i apache2_reverse -b private,public -a 192.168.42.3/24,10.0.0.2/24 "
                  '-p "/usr/sbin/apache2ctl start"')),
    Command(
        "container", "run", "foreground:run", (
            Flag("-i", "--image", "NAME", "the image that its disk is a copy of", "l'image dont son disque est une copie",
                 bare="interactive"),
            CONTAINER, INTERACTIVE, TTY,
            Flag("", "--rm", "", "remove it when its program has ended", "le supprimer quand son programme est fini"),
            *DESCRIBED,
        ), "maybe", "Make a container and run a program in it in the foreground: what it prints goes to the standard "
        "output and to the log, signals go to it, and the exit code is its own; 125: Baleine failed, 126: it cannot be "
        "executed, 127: there is no such program. A name is made up where none is given, and cron does not restart it "
        "unless --restart says so. It ends with the last of its processes. If baleine itself is killed with -9, it runs "
        "on; what it writes next then meets a closed pipe (SIGPIPE).",
        "Créer un conteneur et y lancer un programme au premier plan : ce qu'il écrit va à la sortie standard et au "
        "journal, les signaux lui sont transmis, et le code de sortie est le sien ; 125 : échec de Baleine, 126 : il ne "
        "peut être exécuté, 127 : il n'existe pas. Un nom est inventé s'il n'est pas donné, et cron ne le redémarre que si "
        "--restart le dit. Il finit avec le dernier de ses processus. Si baleine lui-même est tué par -9, il continue ; sa "
        "prochaine écriture trouve alors un tube fermé (SIGPIPE).",
        required=("image",), program=True,
        examples=("baleine container run --rm -i apache2 -- apache2ctl -v",
                  "baleine container run --rm -it -i apache2 -b private -- /bin/bash")),
    Command(
        "container", "list", "containers:list_", (
            Flag("-a", "--all", "", "also those that do not run", "aussi ceux qui ne tournent pas"), FILTER, QUIET, FORMAT,
        ), "", "List the containers that run: name, image, pid, running time, bridges with addresses, limits.",
        "Lister les conteneurs qui tournent : nom, image, pid, durée, ponts avec adresses, limites."),
    Command(
        "container", "update", "containers:update", (CONTAINER, *LIMITS, RATE), "one",
        "Change limits of a container in place. One that is not named (or left empty) stays, none takes it away.",
        "Changer des limites d'un conteneur sur place. Celle qui n'est pas nommée (ou laissée vide) reste, none l'enlève.",
        examples=("baleine container update -c web1 --memory 512M --cpus none",
                  "baleine container update -c proxy --rate ,none/5mbit")),
    Command(
        "container", "copy", "files:copy", (), "pair",
        "Copy a file or a directory into a container or out of it, running or not: one of SOURCE and TARGET is NAME:PATH, "
        "the other a path of the host, or - for a tar stream. Into a directory that is there; SOURCE/. means what is in "
        "it. Owners, modes and links are kept, but what comes out is no device, has no set-user-ID bit, and is not written "
        "through a link.",
        "Copier un fichier ou un répertoire vers un conteneur ou depuis lui, qu'il tourne ou non : SOURCE ou CIBLE est "
        "NOM:CHEMIN, l'autre un chemin de l'hôte, ou - pour un flux tar. Dans un répertoire qui existe ; SOURCE/. désigne "
        "son contenu. Propriétaires, modes et liens sont gardés, mais ce qui sort n'est ni périphérique ni set-user-ID, et "
        "ne suit aucun lien que serait sa cible.",
        examples=("baleine container copy page.html web1:/var/www/html", "baleine container copy web1:/etc/apache2 /srv")),
    Command(
        "container", "diff", "files:diff", (CONTAINER, FORMAT), "one",
        "List what differs between a container's disk and the image it was copied from: A for added, C for changed, D for "
        "deleted.",
        "Lister ce qui diffère entre le disque d'un conteneur et l'image dont il est la copie : A pour ajouté, C pour "
        "modifié, D pour supprimé."),
    Command(
        "container", "mount", "files:mount", (CONTAINER,), "one",
        "Mount the disk of a container that does not run, and print where. It cannot start before umount.",
        "Monter le disque d'un conteneur arrêté, et dire où. Il ne peut démarrer avant umount."),
    Command(
        "container", "umount", "files:umount", (CONTAINER,), "one", "Unmount the disk of a container.",
        "Démonter le disque d'un conteneur."),
    Command(
        "container", "commit", "containers:commit_", (
            CONTAINER,
            Flag("-i", "--image", "NAME", "the image to make, NAME or NAME:TAG", "l'image à créer, NOM ou NOM:ÉTIQUETTE"),
            REPLACE, RESULT,
        ), "one", "Make an image of a container's disk as it is now. One that runs goes on; what it writes waits.",
        "Créer une image du disque d'un conteneur tel qu'il est. S'il tourne, il continue ; ses écritures attendent.",
        required=("image",), examples=("baleine container commit -c web1 -i apache2:configured",)),
    Command(
        "container", "start", "containers:change", (CONTAINER, WAIT), "many",
        "Start containers on their own disks.", "Démarrer des conteneurs sur leurs propres disques.",
        examples=("baleine container start -c web1",)),
    Command(
        "container", "stop", "containers:change", (CONTAINER, TIME), "many",
        "End containers and their network; their disks and characteristics stay.",
        "Arrêter des conteneurs et leur réseau ; leurs disques et caractéristiques restent.",
        examples=("baleine container stop -c web1", "baleine container stop web1 web2 -t 30")),
    Command(
        "container", "restart", "containers:change", (CONTAINER, TIME), "many",
        "End containers where they run, and start them on the same disks with their network.",
        "Arrêter des conteneurs s'ils tournent, et les redémarrer sur les mêmes disques avec leur réseau."),
    Command(
        "container", "kill", "containers:kill", (
            CONTAINER,
            Flag("-s", "--signal", "SIGNAL", "another signal than KILL", "un autre signal que KILL"),
        ), "many", "Send a signal to the programs of containers; KILL, where none is named, ends them at once, and cron "
        "does not start them again.",
        "Envoyer un signal aux programmes de conteneurs ; KILL, par défaut, les arrête aussitôt, et cron ne les redémarre "
        "pas.", examples=("baleine container kill -c web1 -s HUP",)),
    Command(
        "container", "pause", "containers:change", (CONTAINER,), "many",
        "Freeze the processes of containers that run.", "Geler les processus de conteneurs qui tournent."),
    Command(
        "container", "unpause", "containers:change", (CONTAINER,), "many",
        "Let the processes of paused containers go on.", "Laisser repartir les processus de conteneurs gelés."),
    Command(
        "container", "remove", "containers:change", (CONTAINER, FORCE, TIME), "many",
        "Destroy containers, running or not: disks and characteristics.",
        "Détruire des conteneurs, qu'ils tournent ou non : disques et caractéristiques."),
    Command(
        "container", "exec", "enter:execute", (
            CONTAINER,
            Flag("-i", "--interactive", "", "standard input is passed on, which it always is",
                 "l'entrée standard est transmise, comme toujours"),
            TTY, ENV, USER, WORKDIR,
        ), "one", "Run one more program in a container. The exit code is the program's; 125: Baleine failed, 126: it "
        "cannot be executed, 127: there is no such program.",
        "Lancer un programme de plus dans un conteneur. Le code de sortie est celui du programme ; 125 : échec de Baleine, "
        "126 : il ne peut être exécuté, 127 : il n'existe pas.",
        program=True,
        examples=("baleine container exec -c web1 -- apache2ctl configtest",
                  "baleine container exec -c web1 -it -- /bin/bash")),
    Command(
        "container", "logs", "watch:logs", (
            CONTAINER,
            Flag("-n", "--tail", "NUMBER", "only so many of the last lines", "seulement les NOMBRE dernières lignes"),
            Flag("-f", "--follow", "", "go on with what is written, until the container has ended",
                 "continuer avec ce qui s'écrit, jusqu'à la fin du conteneur"),
            Flag("", "--since", "TIME", "only what was written since then, to the minute: 10m, 2h, 1d, or ISO 8601",
                 "seulement ce qui est écrit depuis, à la minute près : 10m, 2h, 1d, ou ISO 8601"),
        ), "one", "Print what a container's program wrote to its standard output and error output.",
        "Afficher ce que le programme d'un conteneur a écrit sur sa sortie standard et sa sortie d'erreur.",
        examples=("baleine container logs -c web1 -n 20 -f",)),
    Command(
        "container", "stats", "watch:stats", (CONTAINER, FORMAT), "any",
        "Show what containers use, all that run where none is named: CPU now and in all, memory and its limit, processes, "
        "bytes read and written, bytes received and sent by each interface.",
        "Montrer ce que des conteneurs utilisent, tous ceux qui tournent si aucun n'est nommé : processeur (maintenant et "
        "en tout), mémoire et limite, processus, octets lus et écrits, octets reçus et envoyés par chaque interface."),
    Command(
        "container", "prune", "containers:prune", (
            FILTER, Flag("-n", "--dry-run", "", "only print the names", "seulement afficher les noms"),
        ), "", "Destroy the containers that do not run and are not wanted to, and print their names.",
        "Détruire les conteneurs qui ne tournent pas et n'ont pas à tourner, et afficher leurs noms.",
        examples=("baleine container prune --filter label=test",)),
    Command(
        "container", "rename", "containers:rename_", (
            CONTAINER, Flag("-n", "--new-name", "NAME", "its new name", "son nouveau nom"),
        ), "one", "Give a container that does not run another name. Its links and MAC addresses stay; older disks that "
        "were put aside keep the old name.",
        "Donner un autre nom à un conteneur arrêté. Ses liens et adresses MAC restent ; les anciens disques mis de côté "
        "gardent l'ancien nom.", required=("new-name",), examples=("baleine container rename -c web1 -n web-old",)),
    Command(
        "container", "grow", "containers:grow", (
            CONTAINER, Flag("-s", "--size", "SIZE", "the new size; a bare number is MiB",
                            "la nouvelle taille ; un nombre seul est en Mio"),
        ), "one", "Make the disk of a container that does not run larger.",
        "Agrandir le disque d'un conteneur arrêté.", required=("size",),
        examples=("baleine container grow -c web1 -s 20G",)),
    Command(
        "container", "inspect", "show:inspect", (CONTAINER, FORMAT), "many",
        "Show everything that is known of containers.", "Montrer tout ce que l'on sait des conteneurs."),
)  # fmt: skip

COMMANDS = (*OTHERS, *CONTAINERS)
