{{/* The backends that this version of flanneld has. */}}
{{- define "flannel.backends" -}}
vxlan host-gw udp wireguard ipip alloc extension ipsec aws-vpc gce ali-vpc tencent-vpc
{{- end }}

{{/* "true" or nothing. A string is what --set-string gives: "false" must not count as true. */}}
{{- define "flannel.isTrue" -}}
{{- if eq (toString . | lower) "true" }}true{{ end }}
{{- end }}

{{/* A scalar as text. Helm reads numbers of a values file as floats, which print as 2.0240101e+07. */}}
{{- define "flannel.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else if not (kindIs "invalid" .) }}{{ toString . }}{{ end }}
{{- end }}

{{/* Names of values that this chart does not have, separated by commas. A test compares the lists with the schema. */}}
{{- define "flannel.unknownValues" -}}
{{- $known := dict
  "" (list "global" "podCidr" "podCidrv6" "flannel" "netpol")
  "flannel." (list "image" "imagePullPolicy" "flannel_cni" "cniBinDir" "cniConfDir" "skipCNIConfigInstallation" "enableNFTables" "args" "extraEnv" "backend" "backendPort" "mtu" "vni" "GBP" "directRouting" "disableTxChecksum" "macPrefix" "backendPortv6" "psk" "tunnelMode" "keepaliveInterval" "implementation" "udpEncap" "espProposal" "charonDirectory" "routeTableIDs" "accessKeySecret" "preStartupCommand" "postStartupCommand" "subnetAddCommand" "subnetRemoveCommand" "cniConf" "resources" "healthz" "metrics" "tolerations" "nodeSelector")
  "flannel.image." (list "repository" "tag")
  "flannel.healthz." (list "port" "livenessProbe" "readinessProbe")
  "flannel.metrics." (list "port" "tokenSecret" "podMonitor")
  "netpol." (list "enabled" "failClosed")
}}
{{- $given := dict "" .Values "flannel." .Values.flannel "flannel.image." .Values.flannel.image "flannel.healthz." .Values.flannel.healthz "flannel.metrics." .Values.flannel.metrics "netpol." .Values.netpol }}
{{- $unknown := list }}
{{- range $prefix, $names := $known }}
{{- range $name := keys (get $given $prefix | default dict) | sortAlpha }}
{{- if not (has $name $names) }}{{ $unknown = append $unknown (print $prefix $name) }}{{ end }}
{{- end }}
{{- end }}
{{- join ", " $unknown }}
{{- end }}

{{/* Refuses what would render but not work. Renders nothing. */}}
{{- define "flannel.check" -}}
{{- $backends := splitList " " (include "flannel.backends" .) }}
{{- if not (has .Values.flannel.backend $backends) }}
{{- fail (printf "flannel.backend: %q is not supported by this version: use one of %s" .Values.flannel.backend (join ", " $backends)) }}
{{- end }}
{{- if not (or .Values.podCidr .Values.podCidrv6) }}
{{- fail "podCidr and podCidrv6 are both empty: set the cluster's pod network (kube-controller-manager's --cluster-cidr)" }}
{{- end }}
{{- range $name, $max := dict "backendPort" 65535 "backendPortv6" 65535 "keepaliveInterval" 65535 "mtu" 65535 "vni" 16777215 }}
{{- if gt (get $.Values.flannel $name | int64) (int64 $max) }}
{{- fail (printf "flannel.%s: %v is larger than %d" $name (get $.Values.flannel $name) (int64 $max)) }}
{{- end }}
{{- end }}
{{- if gt (dig "port" 0 (.Values.flannel.healthz | default dict) | int64) 65535 }}
{{- fail "flannel.healthz.port: it is larger than 65535" }}
{{- end }}
{{- if gt (dig "port" 0 (.Values.flannel.metrics | default dict) | int64) 65535 }}
{{- fail "flannel.metrics.port: it is larger than 65535" }}
{{- end }}
{{- if and (include "flannel.podMonitor" .) (not (include "flannel.metricsPort" .)) }}
{{- fail "flannel.metrics.podMonitor.enabled: Prometheus does not reach the nodes' loopback; set flannel.metrics.port, for example to 7000" }}
{{- end }}
{{- if hasSuffix "flannel-io/flannel" (.Values.flannel.image.repository | default "") }}
{{- fail (printf "flannel.image.repository: %s is Go flannel's image, which this chart cannot run: set the repository of the flannel-ts image, and leave flannel.image.tag empty" .Values.flannel.image.repository) }}
{{- end }}
{{- end }}

{{/* "true" or nothing: whether flanneld enforces network policies. */}}
{{- define "flannel.netpol" -}}
{{- include "flannel.isTrue" (.Values.netpol | default dict).enabled }}
{{- end }}

{{/* The CNI config as text. With network policies the flannel plugin waits for them: it gets failClosed, unless it has it. */}}
{{- define "flannel.cniConf" -}}
{{- $given := .Values.flannel.cniConf }}
{{- if include "flannel.netpol" . }}
{{- $config := kindIs "map" $given | ternary $given (toString $given | fromJson) }}
{{- if hasKey $config "Error" }}
{{- fail (printf "flannel.cniConf: it is no JSON (%s), so that netpol.enabled cannot add failClosed to it" $config.Error) }}
{{- end }}
{{- $failClosed := ne (toString (.Values.netpol).failClosed | lower) "false" }}
{{- $plugins := list }}
{{- range $plugin := $config.plugins }}
{{- $isOurs := and (eq $plugin.type "flannel") (not (hasKey $plugin "failClosed")) }}
{{- $plugins = append $plugins ($isOurs | ternary (merge (dict "failClosed" $failClosed) $plugin) $plugin) }}
{{- end }}
{{- mustToPrettyJson (merge (dict "plugins" $plugins) $config) }}
{{- else }}
{{- kindIs "map" $given | ternary (mustToPrettyJson $given) (toString $given) }}
{{- end }}
{{- end }}

{{/* The port of /metrics on the nodes' addresses, or nothing. */}}
{{- define "flannel.metricsPort" -}}
{{- with int (.Values.flannel.metrics).port }}{{ . }}{{ end }}
{{- end }}

{{/* The name of the Secret with the token of the status server, or nothing. */}}
{{- define "flannel.tokenSecret" -}}
{{- if include "flannel.metricsPort" . }}{{ include "flannel.text" (.Values.flannel.metrics).tokenSecret }}{{ end }}
{{- end }}

{{/* "true" or nothing. */}}
{{- define "flannel.podMonitor" -}}
{{- include "flannel.isTrue" (dig "podMonitor" dict (.Values.flannel.metrics | default dict) | default dict).enabled }}
{{- end }}

{{- define "flannel.image" -}}
{{ .Values.flannel.image.repository | default "flannel-ts" }}:{{ include "flannel.text" .Values.flannel.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The rights of the init containers, which only copy files. */}}
{{- define "flannel.installerSecurityContext" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{/* The preshared key, or nothing: then net-conf.json contains no secret and is in the ConfigMap. 0 is Go flannel's "none". */}}
{{- define "flannel.psk" -}}
{{- $psk := include "flannel.text" .Values.flannel.psk }}
{{- if and (has .Values.flannel.backend (list "wireguard" "ipsec")) (ne $psk "0") }}{{ $psk }}{{ end }}
{{- end }}

{{/* Whether flanneld opens /dev/net/tun: it carries the packets itself. */}}
{{- define "flannel.usesTun" -}}
{{- $values := .Values.flannel }}
{{- if or (eq $values.backend "udp") (and (eq $values.backend "wireguard") (eq (toString $values.implementation) "userspace")) }}true{{ end }}
{{- end }}

{{/* net-conf.json. Zero and empty values are left out, so that flanneld's defaults apply. */}}
{{- define "flannel.netConf" -}}
{{- $values := .Values.flannel }}
{{- $backend := dict "Type" $values.backend }}
{{- if has $values.backend (list "vxlan" "udp") }}
{{- with int $values.backendPort }}{{ $_ := set $backend "Port" . }}{{ end }}
{{- end }}
{{- if eq $values.backend "vxlan" }}
{{- with int $values.vni }}{{ $_ := set $backend "VNI" . }}{{ end }}
{{- with int $values.mtu }}{{ $_ := set $backend "MTU" . }}{{ end }}
{{- if include "flannel.isTrue" $values.GBP }}{{ $_ := set $backend "GBP" true }}{{ end }}
{{- if include "flannel.isTrue" $values.directRouting }}{{ $_ := set $backend "DirectRouting" true }}{{ end }}
{{- if include "flannel.isTrue" $values.disableTxChecksum }}{{ $_ := set $backend "DisableTxChecksum" true }}{{ end }}
{{- end }}
{{- if eq $values.backend "wireguard" }}
{{- with int $values.backendPort }}{{ $_ := set $backend "ListenPort" . }}{{ end }}
{{- with int $values.backendPortv6 }}{{ $_ := set $backend "ListenPortV6" . }}{{ end }}
{{- with int $values.mtu }}{{ $_ := set $backend "MTU" . }}{{ end }}
{{- with $values.tunnelMode }}{{ $_ := set $backend "Mode" . }}{{ end }}
{{- with $values.implementation }}{{ $_ := set $backend "Implementation" . }}{{ end }}
{{- with int $values.keepaliveInterval }}{{ $_ := set $backend "PersistentKeepaliveInterval" . }}{{ end }}
{{- with include "flannel.psk" $ }}{{ $_ := set $backend "PSK" . }}{{ end }}
{{- end }}
{{- if eq $values.backend "ipsec" }}
{{- with include "flannel.psk" $ }}{{ $_ := set $backend "PSK" . }}{{ end }}
{{- if include "flannel.isTrue" $values.udpEncap }}{{ $_ := set $backend "UDPEncap" true }}{{ end }}
{{- with $values.espProposal }}{{ $_ := set $backend "ESPProposal" . }}{{ end }}
{{- end }}
{{- if has $values.backend (list "aws-vpc" "ali-vpc" "tencent-vpc") }}
{{- with $values.routeTableIDs }}{{ $_ := set $backend "RouteTableID" . }}{{ end }}
{{- end }}
{{- if eq $values.backend "extension" }}
{{- with $values.preStartupCommand }}{{ $_ := set $backend "PreStartupCommand" . }}{{ end }}
{{- with $values.postStartupCommand }}{{ $_ := set $backend "PostStartupCommand" . }}{{ end }}
{{- with $values.subnetAddCommand }}{{ $_ := set $backend "SubnetAddCommand" . }}{{ end }}
{{- with $values.subnetRemoveCommand }}{{ $_ := set $backend "SubnetRemoveCommand" . }}{{ end }}
{{- end }}
{{- if eq $values.backend "ipip" }}
{{- with int $values.mtu }}{{ $_ := set $backend "MTU" . }}{{ end }}
{{- if include "flannel.isTrue" $values.directRouting }}{{ $_ := set $backend "DirectRouting" true }}{{ end }}
{{- end }}
{{- $config := dict "Backend" $backend "EnableNFTables" (eq (include "flannel.isTrue" $values.enableNFTables) "true") }}
{{- if .Values.podCidr }}
{{- $_ := set $config "Network" .Values.podCidr }}
{{- else }}
{{- $_ := set $config "EnableIPv4" false }}
{{- end }}
{{- if .Values.podCidrv6 }}
{{- $_ := set $config "EnableIPv6" true }}
{{- $_ := set $config "IPv6Network" .Values.podCidrv6 }}
{{- end }}
{{- mustToPrettyJson $config }}
{{- end }}
